/* The most multiply-adds that the team's cores can do: as many independent chains as hide the latency, nothing from
 * memory. */
#include <stdint.h>

#include "export.h"
#include "thread_pool.h"

#define CHAINS 12

typedef float row16 __attribute__((vector_size(64)));
typedef float row8 __attribute__((vector_size(32)));

#define LOOP(name, row, attribute)                                    \
  attribute static float name(int64_t rounds, float factor) {         \
    row chain[CHAINS], scale = (row){0} + factor, sum = {0};          \
    for (int k = 0; k < CHAINS; k++) chain[k] = (row){0} + (float)k;  \
    for (int64_t round = 0; round < rounds; round++)                  \
      for (int k = 0; k < CHAINS; k++) chain[k] = chain[k] * scale + scale; \
    for (int k = 0; k < CHAINS; k++) sum += chain[k];                 \
    return sum[0];                                                    \
  }

#if defined(__x86_64__)
LOOP(rounds512, row16, __attribute__((target("avx512f,fma"), optimize("unroll-loops"))))
LOOP(rounds256, row8, __attribute__((target("avx2,fma"), optimize("unroll-loops"))))
#endif

static int64_t wanted;
static volatile float sink;

static int lanes(void) {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return 16;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 8;
#endif
  return 0;
}

static void share(int thread, void *argument) {
  float factor = *(float *)argument;
  (void)thread;
#if defined(__x86_64__)
  sink = lanes() == 16 ? rounds512(wanted, factor) : rounds256(wanted, factor);
#endif
}

/* Runs so many rounds on every thread of the team; returns the floating-point operations of all of them, 0 if it
 * cannot tell. */
EXPORT double cellwright_peak(int64_t rounds) {
  float factor = 0.5f;
  if (!lanes()) return 0;
  wanted = rounds;
  pool_run(share, &factor);
  return 2.0 * CHAINS * lanes() * (double)rounds * pool_threads();
}
