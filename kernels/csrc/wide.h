/* Loops that every file may have at full width: compiled for AVX2 too, and at start the one that the machine runs is
   taken. The files of kernels in blocks (lanes*.c) are compiled once for each width instead. */
#ifndef CELLWRIGHT_WIDE_H
#define CELLWRIGHT_WIDE_H

#if defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif

#endif
