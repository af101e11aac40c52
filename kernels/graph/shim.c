/* Carries numba kernels into a MindSpore graph.
 *
 * ops.Custom(func_type="aot") calls a C symbol of a shared library by name. Each symbol here jumps through one entry of a
 * table that Python fills with the address of a numba cfunc of the same signature, so kernels need no compiler of their own.
 */
#include <stdint.h>

#define SLOTS 256
#define EXPORT __attribute__((visibility("default")))

typedef int (*kernel_t)(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                        void *extra);

static kernel_t table[SLOTS];

EXPORT int cellwright_slots(void) { return SLOTS; }

EXPORT int cellwright_bind(int slot, kernel_t kernel) {
  if (slot < 0 || slot >= SLOTS || table[slot]) return -1;
  table[slot] = kernel;
  return 0;
}

#define SLOT(n)                                                                                                       \
  EXPORT int cellwright_slot_##n(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes,        \
                                 void *stream, void *extra) {                                                         \
    return table[0x##n] ? table[0x##n](nparam, params, ndims, shapes, dtypes, stream, extra) : 70;                    \
  }
#define ROW(h) SLOT(h##0) SLOT(h##1) SLOT(h##2) SLOT(h##3) SLOT(h##4) SLOT(h##5) SLOT(h##6) SLOT(h##7) \
  SLOT(h##8) SLOT(h##9) SLOT(h##a) SLOT(h##b) SLOT(h##c) SLOT(h##d) SLOT(h##e) SLOT(h##f)
ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7) ROW(8) ROW(9) ROW(a) ROW(b) ROW(c) ROW(d) ROW(e) ROW(f)

