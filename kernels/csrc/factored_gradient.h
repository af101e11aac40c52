/* Gradients of weights that are kept as the two factors of which they are the product. */
#ifndef CELLWRIGHT_FACTORED_GRADIENT_H
#define CELLWRIGHT_FACTORED_GRADIENT_H

#include <stdint.h>

/* Whether a tensor holds factors, those of so many numbers. */
int factored_holds(const float *tensor, int64_t numbers);
/* Makes `count` numbers of the product from a place on; the same bits wherever it begins. */
void factored_make(const float *tensor, int64_t place, int64_t count, float *to);

#endif
