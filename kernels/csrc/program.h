/* What runs a program: operations on chunks of images, and jobs on whole arrays; operations.h says what they are given. */
#ifndef CELLWRIGHT_PROGRAM_H
#define CELLWRIGHT_PROGRAM_H

#include "operations.h"

typedef struct {
  void **params;
  const int64_t *sizes;      /* floats of each of them; negative: it holds int32 */
  float *tape, *work, *kept, *scratch;
  int part, threads;         /* the number of the share of the images, and how many there are */
  int runner;                /* the number of the thread that runs it, for what two cannot use at once */
  int64_t images;            /* of the batch */
  int64_t n0, n, capacity;   /* the chunk: first image, count, most images of a chunk in this stage */
  int64_t first;             /* of the share */
  uint32_t turn;             /* how many programs have run */
} context_t;

typedef int (*operation_t)(const op_t *op, const context_t *context);

/* Those for a number of lanes, on tensors stored as float32 or as bfloat16. */
const operation_t *operations_for(int64_t lanes, int64_t bfloat16);
/* Returns 0, an error, or CHAIN_DONE where the jobs that continue this one have nothing to do. */
#define CHAIN_DONE -1
int run_job(const op_t *job, const context_t *context, const operation_t *operations);

/* Number of images of a share begin at share(thread), end at share(thread + 1). */
static inline int64_t share(const context_t *c, int thread) { return c->images * thread / c->threads; }

static inline float *place(const context_t *c, const operand_t *operand) {
  int64_t offset = operand->offset + operand->channel + c->n0 * operand->stride;
  switch (operand->base) {
    case BASE_NONE: return 0;
    case BASE_TAPE: return c->tape + offset;
    case BASE_WORK: return c->work + offset;
    case BASE_SCRATCH: return c->scratch + operand->offset * c->capacity + operand->channel;
    case BASE_PER_THREAD: return c->work + operand->offset + c->part * operand->stride;
    case BASE_KEPT: return c->kept + offset;
    default: return (float *)c->params[operand->base] + offset;
  }
}

#endif
