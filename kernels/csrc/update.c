/* The optimizer's pass over all parameters in one node: each number is read and written once. */
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "pool.h"

#define EXPORT __attribute__((visibility("default")))
#if defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define PIECE (32 * 1024) /* numbers that a thread takes at a time */

static int64_t numbers_of(int ndims, const int64_t *shape) {
  int64_t numbers = 1;
  for (int axis = 0; axis < ndims; axis++) numbers *= shape[axis];
  return numbers;
}

static int64_t total_of(int64_t count, const int64_t *numbers) {
  int64_t total = 0;
  for (int64_t k = 0; k < count; k++) total += numbers[k];
  return total;
}

typedef struct {
  int64_t count; /* tensors */
  const int64_t *numbers, *decayed;
  float **parameters, **moments, **gradients;
  float lr, factor, momentum, decay;
  int nesterov;
  atomic_llong next;
  atomic_int finite;
} update_t;

/* Takes the next piece of the row of all tensors; 0 at the end. */
static int64_t take(update_t *update, int64_t *tensor, int64_t *offset) {
  int64_t piece = atomic_fetch_add(&update->next, 1), before = 0;
  for (int64_t k = 0; k < update->count; k++) {
    int64_t pieces = (update->numbers[k] + PIECE - 1) / PIECE;
    if (piece < before + pieces) {
      *tensor = k, *offset = (piece - before) * PIECE;
      int64_t left = update->numbers[k] - *offset;
      return left < PIECE ? left : PIECE;
    }
    before += pieces;
  }
  return 0;
}

WIDE static void move(int thread, void *argument) {
  (void)thread;
  update_t *u = argument;
  int64_t tensor, offset, length;
  while ((length = take(u, &tensor, &offset))) {
    float *restrict p = u->parameters[tensor] + offset, *restrict v = u->moments[tensor] + offset;
    const float *restrict g = u->gradients[tensor] + offset;
    float decay = u->decayed[tensor] ? u->decay : 0, lr = u->lr, factor = u->factor, momentum = u->momentum;
    if (u->nesterov)
      for (int64_t k = 0; k < length; k++) {
        float own = g[k] * factor + decay * p[k];
        v[k] = momentum * v[k] + own;
        p[k] -= lr * (own + momentum * v[k]);
      }
    else
      for (int64_t k = 0; k < length; k++) {
        v[k] = momentum * v[k] + (g[k] * factor + decay * p[k]);
        p[k] -= lr * v[k];
      }
  }
}

/* The node: (momentum, weight decay, nesterov) float32, decayed int64 (count), lr, factor, parameters, moments, gradients; the
 * result is one number. Parameters and moments are changed in place. */
EXPORT int cellwright_momentum(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                               void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 5) / 3;
  if (count < 1 || nparam != 5 + 3 * count || strcmp(dtypes[1], "int64")) return 72;
  int64_t *numbers = malloc(count * sizeof *numbers);
  if (!numbers) return 75;
  const float *settings = params[0];
  update_t update = {.count = count, .numbers = numbers, .decayed = params[1]};
  update.parameters = (float **)params + 4, update.moments = update.parameters + count;
  update.gradients = update.moments + count;
  update.momentum = settings[0], update.decay = settings[1], update.nesterov = settings[2] != 0;
  update.lr = *(float *)params[2], update.factor = *(float *)params[3];
  int code = numbers_of(ndims[1], shapes[1]) == count ? 0 : 72;
  for (int64_t k = 0; k < count; k++) {
    numbers[k] = numbers_of(ndims[4 + k], shapes[4 + k]);
    for (int64_t part = 0; part < 3; part++) {
      int64_t tensor = 4 + part * count + k;
      if (numbers_of(ndims[tensor], shapes[tensor]) != numbers[k] || strcmp(dtypes[tensor], "float32")) code = 72;
    }
  }
  int64_t begin = clock_begin();
  if (!code) pool_run(move, &update);
  clock_end_node(begin, CLOCK_MOMENTUM, total_of(count, numbers));
  *(float *)params[nparam - 1] = 0;
  free(numbers);
  return code;
}

WIDE static void check(int thread, void *argument) {
  (void)thread;
  update_t *u = argument;
  int64_t tensor, offset, length;
  while (atomic_load(&u->finite) && (length = take(u, &tensor, &offset))) {
    const int32_t *bits = (const int32_t *)(u->gradients[tensor] + offset);
    int32_t found = 0;
    for (int64_t k = 0; k < length; k++) found |= (bits[k] & 0x7f800000) == 0x7f800000;
    if (found) atomic_store(&u->finite, 0);
  }
}

/* The node: any number of float32 tensors; the result is 1 if all their numbers are finite, else 0. */
EXPORT int cellwright_all_finite(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                                 void *extra) {
  (void)stream, (void)extra;
  int64_t count = nparam - 1;
  int64_t *numbers = malloc((count > 0 ? count : 1) * sizeof *numbers);
  if (!numbers) return 75;
  update_t update = {.count = count, .numbers = numbers, .gradients = (float **)params, .finite = 1};
  int code = 0;
  for (int64_t k = 0; k < count; k++) {
    numbers[k] = numbers_of(ndims[k], shapes[k]);
    if (strcmp(dtypes[k], "float32")) code = 72;
  }
  int64_t begin = clock_begin();
  if (!code) pool_run(check, &update);
  clock_end_node(begin, CLOCK_ALL_FINITE, total_of(count, numbers));
  *(float *)params[nparam - 1] = (float)atomic_load(&update.finite);
  free(numbers);
  return code;
}
