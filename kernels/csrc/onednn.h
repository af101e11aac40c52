/* Convolutions and reorders of the oneDNN library that MindSpore brings, called through its C interface. */
#ifndef CELLWRIGHT_ONEDNN_H
#define CELLWRIGHT_ONEDNN_H

#include <stdint.h>

enum { CONV_FORWARD, CONV_INPUT_GRADIENT, CONV_WEIGHT_GRADIENT };

typedef struct conv conv_t;
typedef struct reorder reorder_t;

/* Runs `images` images; weights are in the primitive's own layout. bias may be 0. Returns 0, or a code of oneDNN. */
int conv_run(conv_t *conv, int thread, int images, float *source, float *weights, float *bias, float *target);
int reorder_run(reorder_t *reorder, int thread, float *source, float *target);

#endif
