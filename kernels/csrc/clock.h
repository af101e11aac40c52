/* When switched on, notes when each operation of a program and each node began and ended. Off, it costs the
 * test of a flag. */
#ifndef CELLWRIGHT_CLOCK_H
#define CELLWRIGHT_CLOCK_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

/* what: a program's address, or one of the numbers below. list: 0 operations, 1 to 3 the jobs before, before and after
 * them, -1 the node itself. size: images of the chunk, or numbers that a node adds up, moves or checks. Times are those
 * of CLOCK_MONOTONIC, in ns. */
typedef struct {
  int64_t begin, end, what, size;
  int32_t stage, list, index, thread;
} clock_event_t;

enum { CLOCK_ALLREDUCE = 1, CLOCK_MOMENTUM, CLOCK_ALL_FINITE, CLOCK_ADAMW, CLOCK_SUMS_MOMENTUM, CLOCK_SUMS_ADAMW, CLOCK_SLOT = 256 };

extern atomic_int clock_on;
void clock_note(int64_t begin, int64_t what, int64_t size, int stage, int list, int index, int thread);

static inline int64_t clock_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline int64_t clock_begin(void) { return atomic_load_explicit(&clock_on, memory_order_relaxed) ? clock_now() : 0; }

/* begin: what clock_begin returned. */
static inline void clock_end(int64_t begin, int64_t what, int64_t size, int stage, int list, int index, int thread) {
  if (begin) clock_note(begin, what, size, stage, list, index, thread);
}

static inline void clock_end_node(int64_t begin, int64_t what, int64_t size) {
  clock_end(begin, what, size, -1, -1, -1, -1);
}

#endif
