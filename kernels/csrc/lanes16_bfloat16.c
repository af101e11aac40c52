/* The operations for machines with AVX-512, on tensors stored as bfloat16; chosen at run time, so the rest of the shim is built for any
 * x86-64. */
#if defined(__x86_64__)
#pragma GCC target("arch=x86-64-v4")
#endif
#define LANES 16
#define STORAGE BFLOAT16
#define OPERATIONS bfloat16_operations16
#include "blocked.inc"
