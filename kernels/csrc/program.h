/* What a program is made of: operations on chunks of images, and jobs on whole arrays. Python fills these structures. */
#ifndef CELLWRIGHT_PROGRAM_H
#define CELLWRIGHT_PROGRAM_H

#include <stdint.h>

#define REFS 10
#define INTS 12

/* Where an operand lies. `base`: the number of a tensor of the node, or one of these. offset, stride (of an image) and channel (where
 * a part of a concatenation begins inside each image) in floats. */
enum {
  BASE_NONE = -1,
  BASE_TAPE = -2,      /* kept from the forward to the backward node */
  BASE_WORK = -3,      /* all images, until the node ends */
  BASE_SCRATCH = -4,   /* one chunk, one thread, until the stage ends; offset for each image of the chunk's capacity */
  BASE_PER_THREAD = -5 /* in the work memory; `stride` is that of a thread */
};

typedef struct {
  int64_t base, offset, stride, channel;
} ref_t;

typedef struct {
  int64_t kind;
  ref_t r[REFS];
  int64_t i[INTS];
  double f[4];
  void *handle;
} op_t;

typedef struct {
  void **params;
  float *tape, *work, *scratch;
  int thread, threads;       /* threads that have images */
  int64_t images;            /* of the batch */
  int64_t n0, n, capacity;   /* the chunk: first image, count, most images of a chunk in this stage */
  int64_t first;             /* of this thread's share */
} context_t;

typedef int (*operation_t)(const op_t *op, const context_t *context);

enum {
  OP_CONV, OP_WEIGHT_GRADIENT, OP_IMPORT, OP_EXPORT, OP_COPY, OP_ADD, OP_STATISTICS, OP_AFFINE, OP_NORM_REDUCE, OP_APPLY,
  OP_MAX_POOL, OP_MAX_POOL_GRADIENT, OP_AVG_POOL, OP_AVG_POOL_GRADIENT, OP_GATHER, OP_GATHER_GRADIENT, OP_JOIN,
  OP_JOIN_GRADIENT, OP_KINDS
};
enum {
  JOB_REORDER = 100, JOB_STATISTICS, JOB_NORM, JOB_NORM_FIXED, JOB_NORM_GRADIENT, JOB_WEIGHT_GRADIENT, JOB_BIAS_GRADIENT,
  JOB_IMPORT, JOB_GATHER_GRADIENT
};

extern const operation_t operations16[OP_KINDS], operations8[OP_KINDS];
int run_job(const op_t *job, const context_t *context, int lanes);

/* Number of images of a thread's share begin at share(thread), end at share(thread + 1). */
static inline int64_t share(const context_t *c, int thread) { return c->images * thread / c->threads; }

static inline float *place(const context_t *c, const ref_t *ref) {
  int64_t offset = ref->offset + ref->channel + c->n0 * ref->stride;
  switch (ref->base) {
    case BASE_NONE: return 0;
    case BASE_TAPE: return c->tape + offset;
    case BASE_WORK: return c->work + offset;
    case BASE_SCRATCH: return c->scratch + ref->offset * c->capacity + ref->channel;
    case BASE_PER_THREAD: return c->work + ref->offset + c->thread * ref->stride;
    default: return (float *)c->params[ref->base] + offset;
  }
}

#endif
