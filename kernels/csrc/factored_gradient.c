/* The gradient of a dense layer's weights, as long as nobody needs it whole: with few images its factors, the layer's inputs and the
 * gradients of its outputs, are a thousandth of it. They lie where it would lie, and whoever sums it makes it piece by piece. */
#include "factored_gradient.h"

#include <string.h>

#include "export.h"
#include "operations.h"

typedef float vector_t __attribute__((vector_size(64), aligned(4)));
#define WIDTH 16 /* numbers of a vector */
#define VECTORS 4

static const char MARK[16] = "factors of a row";

/* What a tensor begins with; after it: inputs [rows][columns], and gradients of outputs [lines][rows]. */
typedef struct {
  char mark[16];
  int64_t rows, lines, columns; /* of images; and of the weights */
  char padding[24];
} factors_t;

static int64_t floats_of(int64_t rows, int64_t lines, int64_t columns) {
  return sizeof(factors_t) / sizeof(float) + rows * (lines + columns);
}

int factored_holds(const float *tensor, int64_t numbers) {
  const factors_t *factors = (const factors_t *)tensor;
  if (numbers < (int64_t)(sizeof *factors / sizeof(float)) || memcmp(factors->mark, MARK, sizeof MARK)) return 0;
  return factors->lines * factors->columns == numbers;
}

/* One line of the weights' gradient: for each image, in their order, its gradient of the output times its inputs. */
static inline __attribute__((always_inline)) void make_line(const float *x, int64_t stride, const float *gradient, int64_t rows,
                                                            int64_t count, float *to) {
  int64_t k = 0;
  for (; k + VECTORS * WIDTH <= count; k += VECTORS * WIDTH) {
    vector_t sums[VECTORS] = {0};
    for (int64_t row = 0; row < rows; row++) {
      const vector_t *from = (const vector_t *)(x + row * stride + k);
      for (int part = 0; part < VECTORS; part++) sums[part] += from[part] * gradient[row];
    }
    memcpy(to + k, sums, sizeof sums);
  }
  for (; k < count; k += WIDTH) { /* vectors here too: the compiler would not fuse the steps of a sum of scalars */
    size_t size = (count - k < WIDTH ? count - k : WIDTH) * sizeof(float);
    vector_t sum = {0}, from = {0};
    for (int64_t row = 0; row < rows; row++) {
      memcpy(&from, x + row * stride + k, size);
      sum += from * gradient[row];
    }
    memcpy(to + k, &sum, size);
  }
}

#if defined(__x86_64__)
__attribute__((target("avx512f"))) static void make_line16(const float *x, int64_t stride, const float *gradient, int64_t rows,
                                                           int64_t count, float *to) {
  make_line(x, stride, gradient, rows, count, to);
}

__attribute__((target("avx2,fma"))) static void make_line8(const float *x, int64_t stride, const float *gradient, int64_t rows,
                                                           int64_t count, float *to) {
  make_line(x, stride, gradient, rows, count, to);
}
#endif

void factored_make(const float *tensor, int64_t place, int64_t count, float *to) {
  const factors_t *factors = (const factors_t *)tensor;
  int64_t rows = factors->rows, columns = factors->columns;
  const float *x = (const float *)(factors + 1), *gradients = x + rows * columns;
#if defined(__x86_64__)
  int wide = __builtin_cpu_supports("avx512f"), fused = __builtin_cpu_supports("fma");
#endif
  for (int64_t done = 0, length; done < count; done += length) {
    int64_t line = (place + done) / columns, column = (place + done) % columns;
    length = columns - column < count - done ? columns - column : count - done;
    const float *from = x + column, *gradient = gradients + line * rows;
#if defined(__x86_64__)
    if (wide || fused) {
      (wide ? make_line16 : make_line8)(from, columns, gradient, rows, length, to + done);
      continue;
    }
#endif
    make_line(from, columns, gradient, rows, length, to + done);
  }
}

/* The node: a layer's inputs (rows, columns), the gradients of its outputs (rows, lines); the result, of the weights' shape, holds the
 * factors. */
EXPORT int cellwright_factored_gradient(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                                        void *extra) {
  (void)stream, (void)extra;
  if (nparam != 3) return ERROR_WRONG_TENSORS;
  for (int tensor = 0; tensor < nparam; tensor++)
    if (ndims[tensor] != 2 || strcmp(dtypes[tensor], "float32")) return ERROR_WRONG_TENSORS;
  factors_t factors = {.rows = shapes[0][0], .lines = shapes[1][1], .columns = shapes[0][1]};
  int64_t rows = factors.rows, lines = factors.lines;
  if (shapes[1][0] != rows || shapes[2][0] != lines || shapes[2][1] != factors.columns) return ERROR_WRONG_TENSORS;
  if (floats_of(rows, lines, factors.columns) > lines * factors.columns) return ERROR_WRONG_TENSORS;
  memcpy(factors.mark, MARK, sizeof MARK);
  float *to = params[2];
  const float *gradients = params[1];
  memcpy(to, &factors, sizeof factors);
  to += sizeof factors / sizeof(float);
  memcpy(to, params[0], rows * factors.columns * sizeof(float));
  to += rows * factors.columns;
  for (int64_t row = 0; row < rows; row++)
    for (int64_t line = 0; line < lines; line++) to[line * rows + row] = gradients[row * lines + line];
  return 0;
}

/* For tests: numbers of a gradient that a tensor holds as factors; returns whether it does. */
EXPORT int cellwright_factored_make(const float *tensor, int64_t numbers, int64_t place, int64_t count, float *to) {
  if (!factored_holds(tensor, numbers)) return 0;
  factored_make(tensor, place, count, to);
  return 1;
}
