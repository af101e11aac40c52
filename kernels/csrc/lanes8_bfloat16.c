/* The operations for machines with AVX2, on tensors stored as bfloat16; chosen at run time, so the rest of the shim is built for any x86-64. */
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v3")
#endif
#define LANES 8
#define STORAGE BFLOAT16
#define OPERATIONS bfloat16_operations8
#include "blocked.inc"
