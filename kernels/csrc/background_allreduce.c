/* Sums over ranks that travel while the graph goes on.
 *
 * A start node hands its tensors to one thread, which sums them one after the other, and ends at once; a wait node ends when all
 * sums that were started are there. Between the two the graph must keep the tensors alive: both are inputs of the wait node.
 */
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "clock.h"
#include "export.h"
#include "operations.h"
#include "shared_allreduce.h"

#define QUEUE 1024

typedef struct {
  int64_t group, count;
  float *from, *to;
} job_t;

static int running;
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
    int64_t begin = clock_begin(), starts[2] = {0, job.count};
    row_t row = {&job.from, &job.to, starts, 1};
    int failed = node_sum(job.group, &row, 1, EXACT);
    clock_end_node(begin, CLOCK_ALLREDUCE, job.count);
    pthread_mutex_lock(&lock);
    if (failed) code = failed;
    done++;
    pthread_cond_broadcast(&changed);
  }
  return 0;
}

/* The node: the number of the group, then any number of tensors, then as many results, which are there after the wait. */
EXPORT int cellwright_background_start(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes,
                                       void *stream, void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 1) / 2;
  if (nparam < 3 || nparam % 2 == 0 || strcmp(dtypes[0], "int64")) return ERROR_WRONG_TENSORS;
  for (int64_t k = 1; k <= count; k++)
    if (strcmp(dtypes[k], "float32")) return ERROR_WRONG_TENSORS;
  pthread_mutex_lock(&lock);
  pthread_t thread;
  if (!running && pthread_create(&thread, 0, work, 0)) {
    pthread_mutex_unlock(&lock);
    return ERROR_NO_MEMORY;
  }
  running = 1;
  for (int64_t k = 0; k < count; k++) {
    int64_t numbers = 1;
    for (int axis = 0; axis < ndims[1 + k]; axis++) numbers *= shapes[1 + k][axis];
    while (started - done == QUEUE) pthread_cond_wait(&changed, &lock);
    queue[started++ % QUEUE] = (job_t){*(int64_t *)params[0], numbers, params[1 + k], params[1 + count + k]};
    pthread_cond_broadcast(&changed);
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
