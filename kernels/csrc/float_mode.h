/* How a thread rounds, and what it does with the smallest numbers. The framework has some of its threads take numbers below the least
 * normal one for zero: which of them runs a node is chance, and must change no bits. */
#ifndef CELLWRIGHT_FLOAT_MODE_H
#define CELLWRIGHT_FLOAT_MODE_H

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/* From here on as it is by default, until float_mode_end is given what this returned. */
static inline unsigned float_mode_begin(void) {
#if defined(__x86_64__)
  unsigned before = _mm_getcsr();
  _mm_setcsr(0x1f80);
  return before;
#else
  return 0;
#endif
}

static inline void float_mode_end(unsigned before) {
#if defined(__x86_64__)
  _mm_setcsr(before);
#else
  (void)before;
#endif
}

#endif
