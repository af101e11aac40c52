/* bfloat16 on the wire: the upper half of a float32, rounded to nearest even. The error is exact in float32. */
#include "wire_bfloat16.h"

#include <string.h>

#include "target_clones.h"

#define EXPONENT 0x7f800000u

static inline uint32_t bits_of(float number) {
  uint32_t bits;
  memcpy(&bits, &number, sizeof bits);
  return bits;
}

static inline float widened(uint16_t half) {
  uint32_t bits = (uint32_t)half << 16;
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

TARGET_CLONES("avx2")
void round_off(uint16_t *restrict halves, const float *restrict numbers, float *restrict carried, int64_t count) {
  for (int64_t k = 0; k < count; k++) {
    float number = numbers[k] + carried[k];
    uint32_t bits = bits_of(number), nan = (bits & ~(1u << 31)) > EXPONENT;
    uint32_t rounded = nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
    uint16_t half = (uint16_t)(rounded >> 16);
    halves[k] = half;
    carried[k] = (rounded & EXPONENT) == EXPONENT ? 0.0f : number - widened(half);
  }
}

TARGET_CLONES("avx2")
void widen(float *restrict numbers, const uint16_t *restrict halves, int64_t count) {
  for (int64_t k = 0; k < count; k++) numbers[k] = widened(halves[k]);
}

TARGET_CLONES("avx2")
void add_widened(float *restrict own_numbers, const uint16_t *restrict received, int64_t stride, int hosts, int own,
                      int64_t count) {
  for (int64_t k = 0; k < count; k++) {
    float sum = own == 0 ? own_numbers[k] : widened(received[k]);
    for (int host = 1; host < hosts; host++) sum += host == own ? own_numbers[k] : widened(received[host * stride + k]);
    own_numbers[k] = sum;
  }
}
