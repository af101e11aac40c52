/* The operations for machines with AVX-512 and its instruction that rounds to bfloat16; chosen at run time. */
#if defined(__x86_64__)
#include <immintrin.h>
#pragma GCC target("arch=x86-64-v4,avx512bf16")
#define STORAGE BFLOAT16_BY_INSTRUCTION
#else
#define STORAGE BFLOAT16
#endif
#define LANES 16
#define OPERATIONS avx512bf16_operations16
#include "blocked.inc"
