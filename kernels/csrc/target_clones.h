/* Before a function: it is compiled for each of the named targets too, and at start the one that the machine runs is
   taken. The files of kernels in blocks (lanes*.c) are compiled once for each width instead. */
#ifndef CELLWRIGHT_TARGET_CLONES_H
#define CELLWRIGHT_TARGET_CLONES_H

#if defined(__x86_64__)
#define TARGET_CLONES(...) __attribute__((target_clones(__VA_ARGS__, "default")))
#else
#define TARGET_CLONES(...)
#endif

#endif
