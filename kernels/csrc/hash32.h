/* A 32-bit hash: two rounds of xor-shift and multiply (Wellons' lowbias32), of a number or of a vector of them. */
#ifndef CELLWRIGHT_HASH32_H
#define CELLWRIGHT_HASH32_H

#define hash32_of(given)                                     \
  ({                                                         \
    __typeof__(given) h = (given);                           \
    h ^= h >> 16, h *= 0x7feb352du;                          \
    h ^= h >> 15, h *= 0x846ca68bu;                          \
    h ^ h >> 16;                                             \
  })

#endif
