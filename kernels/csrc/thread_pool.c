/* Between nodes the threads sleep; inside one they meet at a spinning barrier, which costs about 1 us where a sleep costs 50.
 * The caller only waits, so nothing thread-local that oneDNN keeps is changed on a thread of the runtime. */
#include "thread_pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))
#define SPINS 4000

static pthread_mutex_t callers = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER, finished = PTHREAD_COND_INITIALIZER;
static int wanted = 1, started, started_all, alone;
static uint64_t generation;
static int running;
static work_t job;
static void *job_argument;
static atomic_int arrived;
static atomic_uint phase;

int pool_threads(void) { return started ? started : wanted; }

/* The size of the team; it can be chosen until the first node runs. Returns the size in force. */
EXPORT int cellwright_threads(int threads) {
  pthread_mutex_lock(&lock);
  if (!started && threads > 0) wanted = threads < MAX_THREADS ? threads : MAX_THREADS;
  pthread_mutex_unlock(&lock);
  return pool_threads();
}

static void *serve(void *argument) {
  int thread = (int)(intptr_t)argument;
  uint64_t seen = 0;
  for (;;) {
    pthread_mutex_lock(&lock);
    while (generation == seen) pthread_cond_wait(&wake, &lock);
    seen = generation;
    work_t work = job;
    void *work_argument = job_argument;
    pthread_mutex_unlock(&lock);
    work(thread, work_argument);
    pthread_mutex_lock(&lock);
    if (--running == 0) pthread_cond_signal(&finished);
    pthread_mutex_unlock(&lock);
  }
  return 0;
}

/* Where not one thread can be started, the callers do the work themselves. */
int pool_start(void) {
  pthread_mutex_lock(&lock);
  for (int thread = 0; !started_all && thread < wanted; thread++) {
    pthread_t handle;
    if (pthread_create(&handle, 0, serve, (void *)(intptr_t)thread)) break;
    pthread_detach(handle);
    started = thread + 1;
  }
  if (!started) started = alone = 1;
  started_all = 1;
  pthread_mutex_unlock(&lock);
  return started;
}

/* Starts the team, so that what is planned for it knows its size; returns that. */
EXPORT int cellwright_start_threads(void) { return pool_start(); }

void pool_run(work_t work, void *argument) {
  pthread_mutex_lock(&callers);
  pool_start();
  if (alone) {
    work(0, argument);
    pthread_mutex_unlock(&callers);
    return;
  }
  pthread_mutex_lock(&lock);
  job = work;
  job_argument = argument;
  running = started;
  generation++;
  pthread_cond_broadcast(&wake);
  while (running) pthread_cond_wait(&finished, &lock);
  pthread_mutex_unlock(&lock);
  pthread_mutex_unlock(&callers);
}

void pool_barrier(void) {
  if (started == 1) return;
  unsigned before = atomic_load(&phase);
  if (atomic_fetch_add(&arrived, 1) + 1 == started) {
    atomic_store(&arrived, 0);
    atomic_store(&phase, before + 1);
    return;
  }
  for (int spin = 0; atomic_load(&phase) == before; spin++) {
    if (spin < SPINS) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    } else {
      sched_yield(); /* more threads than cores: the others need this one */
    }
  }
}
