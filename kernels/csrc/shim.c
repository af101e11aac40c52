/* Carries numba kernels into a MindSpore graph.
 *
 * ops.Custom(func_type="aot") calls a C symbol of a shared library by name. Each symbol here jumps through one entry of a
 * table that Python fills with the address of a numba cfunc of the same signature, so kernels need no compiler of their own.
 */
#include <stdint.h>

#include "clock.h"
#include "export.h"
#include "float_mode.h"
#include "operations.h"
#include "thread_pool.h"

#define SLOTS 256

typedef int (*kernel_t)(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                        void *extra);

static struct {
  kernel_t kernel;
  int split;
} table[SLOTS];

EXPORT int cellwright_slots(void) { return SLOTS; }

/* split: the kernel is called by every thread of the team, with the thread's number and their count as its last arguments. */
EXPORT int cellwright_bind(int slot, kernel_t kernel, int split) {
  if (slot < 0 || slot >= SLOTS || table[slot].kernel) return -1;
  table[slot].kernel = kernel;
  table[slot].split = split;
  return 0;
}

typedef struct {
  kernel_t kernel;
  int nparam;
  void **params;
  int *ndims;
  int64_t **shapes;
  const char **dtypes;
  atomic_int code;
} call_t;

static void call_share(int thread, void *argument) {
  call_t *call = argument;
  int code = call->kernel(call->nparam, call->params, call->ndims, call->shapes, call->dtypes, (void *)(intptr_t)thread,
                          (void *)(intptr_t)pool_threads());
  if (code) atomic_store(&call->code, code);
}

static int run_slot(int slot, int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes) {
  call_t call = {table[slot].kernel, nparam, params, ndims, shapes, dtypes, 0};
  if (!call.kernel) return ERROR_UNBOUND;
  int64_t begin = clock_begin();
  if (table[slot].split)
    pool_run(call_share, &call);
  else {
    unsigned before = float_mode_begin();
    atomic_store(&call.code, call.kernel(nparam, params, ndims, shapes, dtypes, 0, (void *)1));
    float_mode_end(before);
  }
  clock_end_node(begin, CLOCK_SLOT + slot, 0);
  return atomic_load(&call.code);
}

#define SLOT(n)                                                                                                      \
  EXPORT int cellwright_slot_##n(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes,        \
                                 void *stream, void *extra) {                                                         \
    (void)stream, (void)extra;                                                                                        \
    return run_slot(0x##n, nparam, params, ndims, shapes, dtypes);                                                    \
  }
#define ROW(h) SLOT(h##0) SLOT(h##1) SLOT(h##2) SLOT(h##3) SLOT(h##4) SLOT(h##5) SLOT(h##6) SLOT(h##7) \
  SLOT(h##8) SLOT(h##9) SLOT(h##a) SLOT(h##b) SLOT(h##c) SLOT(h##d) SLOT(h##e) SLOT(h##f)
ROW(0) ROW(1) ROW(2) ROW(3) ROW(4) ROW(5) ROW(6) ROW(7) ROW(8) ROW(9) ROW(a) ROW(b) ROW(c) ROW(d) ROW(e) ROW(f)

