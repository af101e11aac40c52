/* Sums over ranks that travel while the graph goes on.
 *
 * A start node hands its tensors to one thread, which sums them one after the other, and ends at once; a wait node ends when all
 * sums that were started are there. Between the two the graph must keep the tensors alive: both are inputs of the wait node.
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "clock.h"

#define EXPORT __attribute__((visibility("default")))
#define QUEUE 1024
#define SUMS 64
#define PIECE (1 << 28) /* numbers: MPI's counts are ints */

/* Handles are pointers in Open MPI and ints in MPICH; an int is read from the low half of the register. */
typedef int (*allreduce_t)(const void *from, void *to, int count, intptr_t type, intptr_t operation, intptr_t comm);

typedef struct {
  allreduce_t allreduce;
  intptr_t type, operation, comm;
} sum_t;

typedef struct {
  const sum_t *sum;
  char *from, *to;
  int64_t count;
} job_t;

static sum_t sums[SUMS];
static int sums_count, running;
static job_t queue[QUEUE];
static int64_t started, done;
static int code;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void *work(void *unused) {
  (void)unused;
  pthread_mutex_lock(&lock);
  for (;;) {
    while (done == started) pthread_cond_wait(&changed, &lock);
    job_t job = queue[done % QUEUE];
    pthread_mutex_unlock(&lock);
    const sum_t *s = job.sum;
    int64_t begin = clock_begin();
    int failed = s->allreduce(job.from, job.to, (int)job.count, s->type, s->operation, s->comm);
    clock_end_node(begin, CLOCK_ALLREDUCE, job.count);
    pthread_mutex_lock(&lock);
    if (failed) code = failed;
    done++;
    pthread_cond_broadcast(&changed);
  }
  return 0;
}

/* Returns the number of a way to sum over ranks, or -1. The function is MPI_Allreduce. */
EXPORT int cellwright_background_sum(allreduce_t allreduce, intptr_t type, intptr_t operation, intptr_t comm) {
  if (sums_count == SUMS) return -1;
  sums[sums_count] = (sum_t){allreduce, type, operation, comm};
  return sums_count++;
}

static void hand_over(const sum_t *sum, char *from, char *to, int64_t count) {
  while (started - done == QUEUE) pthread_cond_wait(&changed, &lock);
  queue[started++ % QUEUE] = (job_t){.sum = sum, .from = from, .to = to, .count = count};
  pthread_cond_broadcast(&changed);
}

/* The node: the number of the function, then any number of tensors, then as many results, which are there after the wait. */
EXPORT int cellwright_background_start(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes,
                                       void *stream, void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 1) / 2;
  if (nparam < 3 || nparam % 2 == 0 || strcmp(dtypes[0], "int64")) return 72;
  int64_t number = *(int64_t *)params[0];
  if (number < 0 || number >= sums_count) return 76;
  pthread_mutex_lock(&lock);
  pthread_t thread;
  if (!running && pthread_create(&thread, 0, work, 0)) {
    pthread_mutex_unlock(&lock);
    return 75;
  }
  running = 1;
  for (int64_t k = 0; k < count; k++) {
    int64_t numbers = 1;
    for (int axis = 0; axis < ndims[1 + k]; axis++) numbers *= shapes[1 + k][axis];
    for (int64_t from = 0; from < numbers; from += PIECE)
      hand_over(&sums[number], (char *)params[1 + k] + 4 * from, (char *)params[1 + count + k] + 4 * from,
                numbers - from < PIECE ? numbers - from : PIECE);
  }
  pthread_mutex_unlock(&lock);
  return 0;
}

/* The node: any tensors; the result is one number. Ends with the code of a sum that failed, if one did. */
EXPORT int cellwright_background_wait(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                                      void *extra) {
  (void)ndims, (void)shapes, (void)dtypes, (void)stream, (void)extra;
  pthread_mutex_lock(&lock);
  int64_t all = started;
  while (done < all) pthread_cond_wait(&changed, &lock);
  int failed = code;
  code = 0;
  pthread_mutex_unlock(&lock);
  *(float *)params[nparam - 1] = 0;
  return failed;
}
