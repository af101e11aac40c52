/* The operations for machines with AVX-512; chosen at run time, so the rest of the shim is built for any x86-64. */
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4")
#endif
#define LANES 16
#define STORAGE FLOAT32
#define OPERATIONS operations16
#include "blocked.inc"
