/* Tensors taken as one row of numbers. */
#ifndef CELLWRIGHT_SHARED_ROW_H
#define CELLWRIGHT_SHARED_ROW_H

#include <stdint.h>

#define AT_ONCE 4096 /* numbers that are made of factors on the stack */

typedef struct {
  float *const *from, **to; /* tensors and their sums */
  const int64_t *starts;    /* of each tensor in the row that they make, and the length of the row */
  int64_t tensors;
  const int64_t *factored; /* 1 for each tensor that holds factors in place of its numbers (factored_gradient.h); 0: none does */
} row_t;

/* Makes `count` numbers from a place of a row on, in place. slot: where other ranks get them from, and before that, where they are made
 * of sums, these; 0: there are no others. */
typedef void make_t(void *argument, int64_t place, int64_t count, float *slot);

/* Finds the tensor that holds a place of the row; returns how many of `count` numbers from there on it holds. */
int64_t row_find(const row_t *row, int64_t place, int64_t count, int64_t *tensor, int64_t *offset);
/* Whether a tensor holds factors of its numbers. */
int row_factored(const row_t *row, int64_t tensor);
/* Copies `count` numbers from a place of the row on out of the tensors. */
void row_take(const row_t *row, float *to, int64_t place, int64_t count);
/* Copies sums to a place of the row on. streamed: past the caches, where they would not stay. */
void row_give(const row_t *row, const float *from, int64_t place, int64_t count, int streamed);

#endif
