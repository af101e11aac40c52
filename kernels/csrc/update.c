/* The optimizer's pass over all parameters in one node: each number is read and written once. */
#pragma GCC optimize("no-math-errno") /* else no root is taken eight at a time */
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "export.h"
#include "thread_pool.h"
#include "wide.h"

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
  const int64_t *numbers;
  const float *decays, *rates; /* of each tensor */
  float **parameters, **moments, **squares, **gradients;
  float lr, factor, momentum;
  float beta1, rest1, beta2, rest2, eps, correction1, correction2;
  int nesterov, inside;
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
    float decay = u->decays[tensor], lr = u->lr * u->rates[tensor], factor = u->factor, momentum = u->momentum;
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

/* m = beta1 m + rest1 g; v = beta2 v + rest2 g g; p -= lr (m / correction1 / (sqrt(v / correction2) + eps) + decay p) */
WIDE static void move_adamw(int thread, void *argument) {
  (void)thread;
  update_t *u = argument;
  int64_t tensor, offset, length;
  while ((length = take(u, &tensor, &offset))) {
    float *restrict p = u->parameters[tensor] + offset, *restrict m = u->moments[tensor] + offset;
    float *restrict v = u->squares[tensor] + offset;
    const float *restrict g = u->gradients[tensor] + offset;
    float decay = u->decays[tensor], lr = u->lr * u->rates[tensor], factor = u->factor, eps = u->eps;
    float beta1 = u->beta1, rest1 = u->rest1, beta2 = u->beta2, rest2 = u->rest2;
    float correction1 = u->correction1, correction2 = u->correction2;
    float within = u->inside ? eps : 0, beside = u->inside ? 0 : eps;
    for (int64_t k = 0; k < length; k++) {
      float own = g[k] * factor;
      m[k] = beta1 * m[k] + rest1 * own;
      v[k] = beta2 * v[k] + rest2 * (own * own);
      p[k] -= lr * ((m[k] / correction1) / (sqrtf(v[k] / correction2 + within) + beside) + decay * p[k]);
    }
  }
}

/* Whether a node was given `rows` tensors of float32 for each of `count` parameters from params[first] on, alike in size. */
static int check_rows(int64_t count, int64_t first, int64_t rows, int64_t *numbers, int *ndims, int64_t **shapes,
                      const char **dtypes) {
  for (int64_t k = 0; k < count; k++) {
    numbers[k] = numbers_of(ndims[first + k], shapes[first + k]);
    for (int64_t row = 0; row < rows; row++) {
      int64_t tensor = first + row * count + k;
      if (numbers_of(ndims[tensor], shapes[tensor]) != numbers[k] || strcmp(dtypes[tensor], "float32")) return 72;
    }
  }
  return numbers_of(ndims[1], shapes[1]) == count && numbers_of(ndims[2], shapes[2]) == count ? 0 : 72;
}

/* The node: (momentum, nesterov), decays (count), rates (count), lr, factor, parameters, moments, gradients, all float32; the
 * result is one number. Parameters and moments are changed in place. */
EXPORT int cellwright_momentum(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                               void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 6) / 3;
  if (count < 1 || nparam != 6 + 3 * count) return 72;
  int64_t *numbers = calloc(count, sizeof *numbers);
  if (!numbers) return 75;
  const float *settings = params[0];
  update_t update = {.count = count, .numbers = numbers, .decays = params[1], .rates = params[2]};
  update.parameters = (float **)params + 5, update.moments = update.parameters + count;
  update.gradients = update.moments + count;
  update.momentum = settings[0], update.nesterov = settings[1] != 0;
  update.lr = *(float *)params[3], update.factor = *(float *)params[4];
  int code = check_rows(count, 5, 3, numbers, ndims, shapes, dtypes);
  int64_t begin = clock_begin();
  if (!code) pool_run(move, &update);
  clock_end_node(begin, CLOCK_MOMENTUM, total_of(count, numbers));
  *(float *)params[nparam - 1] = 0;
  free(numbers);
  return code;
}

/* The node: (beta1, 1 - beta1, beta2, 1 - beta2, log beta1, log beta2, eps, eps inside the root), decays (count), rates (count),
 * lr, factor, number of the update, parameters, moments, squares, gradients, all float32; the result is one number. */
EXPORT int cellwright_adamw(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                            void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 7) / 4;
  if (count < 1 || nparam != 7 + 4 * count) return 72;
  int64_t *numbers = calloc(count, sizeof *numbers);
  if (!numbers) return 75;
  const float *settings = params[0];
  double updates = *(float *)params[5];
  update_t update = {.count = count, .numbers = numbers, .decays = params[1], .rates = params[2]};
  update.parameters = (float **)params + 6, update.moments = update.parameters + count;
  update.squares = update.moments + count, update.gradients = update.squares + count;
  update.beta1 = settings[0], update.rest1 = settings[1], update.beta2 = settings[2], update.rest2 = settings[3];
  update.correction1 = (float)-expm1(updates * settings[4]), update.correction2 = (float)-expm1(updates * settings[5]);
  update.eps = settings[6], update.inside = settings[7] != 0;
  update.lr = *(float *)params[3], update.factor = *(float *)params[4];
  int code = check_rows(count, 6, 4, numbers, ndims, shapes, dtypes);
  int64_t begin = clock_begin();
  if (!code) pool_run(move_adamw, &update);
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
