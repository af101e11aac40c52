/* The optimizer's pass over all parameters in one node: each number is read and written once.
 *
 * The ranks of a host can share it: each moves a part of the row that the parameters make, and hands it out (shared_hand_out.c). Where the
 * gradients are not summed yet, that is done on the way. */
#pragma GCC optimize("no-math-errno") /* else no root is taken eight at a time */
#include <math.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "export.h"
#include "factored_gradient.h"
#include "operations.h"
#include "shared_allreduce.h"
#include "thread_pool.h"
#include "target_clones.h"

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

/* Consecutive numbers of one tensor, with their gradients and moments. */
typedef struct {
  int64_t tensor, length;
  float *p, *v, *s;
  const float *g;
} stretch_t;

typedef struct update {
  void (*move)(const struct update *, const stretch_t *);
  int64_t count; /* tensors */
  const int64_t *numbers;
  const float *decays, *rates; /* of each tensor */
  float **parameters, **moments, **squares, **gradients;
  float lr, factor, momentum;
  float beta1, rest1, beta2, rest2, eps, correction1, correction2;
  int nesterov, inside;
  atomic_llong next;
  atomic_int finite;
  const row_t *row; /* of gradients and parameters, where ranks share the update */
  int64_t begin;    /* of this rank's part of it, which is what its moments are of */
  int of_sums;      /* over ranks, of these gradients */
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

TARGET_CLONES("avx2")
static void move_momentum(const update_t *u, const stretch_t *at) {
  float *restrict p = at->p, *restrict v = at->v;
  const float *restrict g = at->g;
  float decay = u->decays[at->tensor], lr = u->lr * u->rates[at->tensor], factor = u->factor, momentum = u->momentum;
  if (u->nesterov)
    for (int64_t k = 0; k < at->length; k++) {
      float own = g[k] * factor + decay * p[k];
      v[k] = momentum * v[k] + own;
      p[k] -= lr * (own + momentum * v[k]);
    }
  else
    for (int64_t k = 0; k < at->length; k++) {
      v[k] = momentum * v[k] + (g[k] * factor + decay * p[k]);
      p[k] -= lr * v[k];
    }
}

/* m = beta1 m + rest1 g; v = beta2 v + rest2 g g; p -= lr (m / correction1 / (sqrt(v / correction2) + eps) + decay p) */
TARGET_CLONES("avx2")
static void move_adamw(const update_t *u, const stretch_t *at) {
  float *restrict p = at->p, *restrict m = at->v, *restrict v = at->s;
  const float *restrict g = at->g;
  float decay = u->decays[at->tensor], lr = u->lr * u->rates[at->tensor], factor = u->factor, eps = u->eps;
  float beta1 = u->beta1, rest1 = u->rest1, beta2 = u->beta2, rest2 = u->rest2;
  float correction1 = u->correction1, correction2 = u->correction2;
  float within = u->inside ? eps : 0, beside = u->inside ? 0 : eps;
  for (int64_t k = 0; k < at->length; k++) {
    float own = g[k] * factor;
    m[k] = beta1 * m[k] + rest1 * own;
    v[k] = beta2 * v[k] + rest2 * (own * own);
    p[k] -= lr * ((m[k] / correction1) / (sqrtf(v[k] / correction2 + within) + beside) + decay * p[k]);
  }
}

static void move_pieces(int thread, void *argument) {
  (void)thread;
  update_t *u = argument;
  int64_t k, offset, length;
  while ((length = take(u, &k, &offset))) {
    stretch_t at = {k, length, u->parameters[k] + offset, u->moments[k] + offset, 0, u->gradients[k] + offset};
    if (u->squares) at.s = u->squares[k] + offset;
    u->move(u, &at);
  }
}

/* Numbers [begin, begin + count) of the row of all parameters, which are of this rank's part: see make_t. */
static void move_part(void *argument, int64_t begin, int64_t count, float *slot) {
  const update_t *u = argument;
  for (int64_t done = 0, k, offset, place; done < count;) {
    int64_t length = row_find(u->row, begin + done, count - done, &k, &offset);
    float made[AT_ONCE];
    place = begin + done - u->begin;
    stretch_t at = {k, length, u->parameters[k] + offset, u->moments[0] + place, 0, u->gradients[k] + offset};
    if (u->squares) at.s = u->squares[0] + place;
    if (u->of_sums && slot) at.g = slot + done;
    if (!slot && row_factored(u->row, k)) {
      at.length = length = length < AT_ONCE ? length : AT_ONCE;
      row_take(u->row, made, begin + done, length);
      at.g = made;
    }
    u->move(u, &at);
    if (slot) memcpy(slot + done, at.p, length * sizeof(float));
    done += length;
  }
}

typedef struct {
  int nparam;
  void **params;
  int *ndims;
  int64_t **shapes;
  const char **dtypes;
} node_t;

static int has_room(const node_t *node, int64_t tensor, int64_t numbers) {
  return numbers_of(node->ndims[tensor], node->shapes[tensor]) >= numbers && !strcmp(node->dtypes[tensor], "float32");
}

static int holds(const node_t *node, int64_t tensor, int64_t numbers) {
  return numbers_of(node->ndims[tensor], node->shapes[tensor]) == numbers && has_room(node, tensor, numbers);
}

/* The node's tensors: (group), settings, decays (count), rates (count), scalars, parameters, `rows` moments of each, gradients, and the
 * result, one number. With a group the moments are `rows` tensors, with room for this rank's part of the row that the parameters make;
 * group: its number, whether the gradients are to be summed over its ranks, and then for each of them whether it holds factors. */
static int run(update_t *update, const node_t *node, int shared, int64_t scalars, int64_t rows) {
  int64_t first = shared + 3 + scalars, given = node->nparam - 1 - first;
  int64_t count = shared ? (given - rows) / 2 : given / (2 + rows), kept = shared ? 1 : count, code = 0;
  if (count < 1 || given != 2 * count + rows * kept) return ERROR_WRONG_TENSORS;
  int64_t *numbers = calloc(2 * count + 1, sizeof *numbers), *starts = numbers + count;
  if (!numbers) return ERROR_NO_MEMORY;
  float **tensors = (float **)node->params + first;
  update->count = count, update->numbers = numbers;
  update->decays = node->params[shared + 1], update->rates = node->params[shared + 2];
  update->parameters = tensors, update->moments = tensors + count, update->gradients = tensors + count + rows * kept;
  update->squares = rows > 1 ? update->moments + kept : 0;
  for (int64_t k = 0; k < count; k++) {
    numbers[k] = numbers_of(node->ndims[first + k], node->shapes[first + k]), starts[k + 1] = starts[k] + numbers[k];
    if (!holds(node, first + k, numbers[k]) || !holds(node, first + count + rows * kept + k, numbers[k])) code = ERROR_WRONG_TENSORS;
  }
  int64_t said = shared ? numbers_of(node->ndims[0], node->shapes[0]) : 0;
  if (shared && (strcmp(node->dtypes[0], "int64") || (said != 2 && said != 2 + count))) code = ERROR_WRONG_TENSORS;
  int64_t end = starts[count], none[2] = {0, 0}, *group = shared && !code ? node->params[0] : none;
  const int64_t *factored = said > 2 ? group + 2 : 0;
  update->of_sums = (int)group[1];
  for (int64_t k = 0; k < count && factored && !code; k++)
    if (factored[k] && !factored_holds(update->gradients[k], numbers[k])) code = ERROR_NO_FACTORS;
  if (shared && !code) code = shared_part(*group, end, &update->begin, &end);
  for (int64_t k = 0; k < rows * kept && !code; k++)
    if (!(shared ? has_room(node, first + count + k, end - update->begin) : holds(node, first + count + k, numbers[k % count])))
      code = ERROR_WRONG_TENSORS;
  if (!holds(node, shared + 1, count) || !holds(node, shared + 2, count)) code = ERROR_WRONG_TENSORS;
  row_t row = {update->gradients, tensors, starts, count, factored};
  update->row = &row;
  int64_t begin = clock_begin();
  if (!code && shared)
    code = shared_hand_out(*group, &row, update->of_sums, move_part, update);
  else if (!code)
    pool_run(move_pieces, update);
  int kind = update->of_sums ? CLOCK_SUMS_MOMENTUM : CLOCK_MOMENTUM;
  if (update->squares) kind = update->of_sums ? CLOCK_SUMS_ADAMW : CLOCK_ADAMW;
  clock_end_node(begin, kind, end - update->begin);
  *(float *)node->params[node->nparam - 1] = 0;
  free(numbers);
  return code;
}

/* Settings: momentum, nesterov. Scalars: lr, factor. */
static int momentum(node_t node, int shared) {
  if (node.nparam < shared + 6) return ERROR_WRONG_TENSORS;
  float **given = (float **)node.params + shared;
  update_t update = {.move = move_momentum, .lr = *given[3], .factor = *given[4]};
  update.momentum = given[0][0], update.nesterov = given[0][1] != 0;
  return run(&update, &node, shared, 2, 1);
}

/* Settings: beta1, 1 - beta1, beta2, 1 - beta2, log beta1, log beta2, eps, eps inside the root. Scalars: lr, factor, number of the
 * update. */
static int adamw(node_t node, int shared) {
  if (node.nparam < shared + 7) return ERROR_WRONG_TENSORS;
  float **given = (float **)node.params + shared, *settings = given[0];
  double updates = *given[5];
  update_t update = {.move = move_adamw, .lr = *given[3], .factor = *given[4]};
  update.beta1 = settings[0], update.rest1 = settings[1], update.beta2 = settings[2], update.rest2 = settings[3];
  update.correction1 = (float)-expm1(updates * settings[4]), update.correction2 = (float)-expm1(updates * settings[5]);
  update.eps = settings[6], update.inside = settings[7] != 0;
  return run(&update, &node, shared, 3, 2);
}

/* The nodes change parameters and moments in place; see run. */
#define NODE(name, function, shared)                                                                                       \
  EXPORT int name(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream, void *extra) { \
    (void)stream, (void)extra;                                                                                             \
    return function((node_t){nparam, params, ndims, shapes, dtypes}, shared);                                              \
  }
NODE(cellwright_momentum, momentum, 0)
NODE(cellwright_adamw, adamw, 0)
NODE(cellwright_shared_momentum, momentum, 1)
NODE(cellwright_shared_adamw, adamw, 1)

typedef int32_t bits_t __attribute__((may_alias));

TARGET_CLONES("avx2")
static void check(int thread, void *argument) {
  (void)thread;
  update_t *u = argument;
  int64_t tensor, offset, length;
  while (atomic_load(&u->finite) && (length = take(u, &tensor, &offset))) {
    const bits_t *bits = (const bits_t *)(u->gradients[tensor] + offset);
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
  if (!numbers) return ERROR_NO_MEMORY;
  update_t update = {.count = count, .numbers = numbers, .gradients = (float **)params, .finite = 1};
  int code = 0;
  for (int64_t k = 0; k < count; k++) {
    numbers[k] = numbers_of(ndims[k], shapes[k]);
    if (strcmp(dtypes[k], "float32")) code = ERROR_WRONG_TENSORS;
  }
  int64_t begin = clock_begin();
  if (!code) pool_run(check, &update);
  clock_end_node(begin, CLOCK_ALL_FINITE, total_of(count, numbers));
  *(float *)params[nparam - 1] = (float)atomic_load(&update.finite);
  free(numbers);
  return code;
}
