/* Between nodes the threads sleep. A node does not wait until they are awake: the framework's own threads spin on the cores for a
 * long time after each of its operators, and a thread that wakes up beside them waits for a slice of the scheduler's (3 ms). */
#include "export.h"
#include "float_mode.h"
#include "thread_pool.h"

#include <pthread.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define SPINS 2000

static pthread_mutex_t callers = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int wanted = 1, fixed;
static work_t job;
static void *job_argument;
static int next, count; /* of the job's calls; guarded by the lock */
static atomic_int done;

int pool_threads(void) { return wanted; }

/* The size of the team; it can be chosen until the first node runs. Returns the size in force. */
EXPORT int cellwright_threads(int threads) {
  pthread_mutex_lock(&lock);
  if (!fixed && threads > 0) wanted = threads < MAX_THREADS ? threads : MAX_THREADS;
  pthread_mutex_unlock(&lock);
  return wanted;
}

static void call(work_t work, int number, void *argument) {
  unsigned before = float_mode_begin();
  work(number, argument);
  float_mode_end(before);
  atomic_fetch_add(&done, 1);
}

static void *serve(void *argument) {
  (void)argument;
  pthread_mutex_lock(&lock);
  for (;;) {
    while (next >= count) pthread_cond_wait(&wake, &lock);
    int number = next++;
    work_t work = job;
    void *work_argument = job_argument;
    pthread_mutex_unlock(&lock);
    call(work, number, work_argument);
    pthread_mutex_lock(&lock);
  }
  return 0;
}

static void start(void) {
  for (int thread = 1; !fixed && thread < wanted; thread++) {
    pthread_t handle;
    if (pthread_create(&handle, 0, serve, 0)) break;
    pthread_detach(handle);
  }
  fixed = 1;
}

void pool_run(work_t work, void *argument) {
  pthread_mutex_lock(&callers);
  pthread_mutex_lock(&lock);
  start();
  job = work;
  job_argument = argument;
  atomic_store(&done, 0);
  next = 0, count = wanted;
  if (count > 1) pthread_cond_broadcast(&wake);
  while (next < count) {
    int number = next++;
    pthread_mutex_unlock(&lock);
    call(work, number, argument);
    pthread_mutex_lock(&lock);
  }
  pthread_mutex_unlock(&lock);
  pool_wait(&done, wanted);
  pthread_mutex_unlock(&callers);
}

/* The sleep leaves the core to the thread that is waited for. */
void pool_wait(atomic_int *reached, int wanted_count) {
  static const struct timespec pause = {0, 20000};
  for (int spin = 0; atomic_load(reached) < wanted_count; spin++) {
    if (spin >= SPINS) nanosleep(&pause, 0);
#if defined(__x86_64__)
    else
      _mm_pause();
#endif
  }
}
