/* Copies between the tensors that make a row and the ring of slots. */
#include "shared_row.h"

#include <string.h>

#include "factored_gradient.h"
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

int64_t row_find(const row_t *row, int64_t place, int64_t count, int64_t *tensor, int64_t *offset) {
  int64_t low = 0, high = row->tensors;
  while (high - low > 1) {
    int64_t middle = (low + high) / 2;
    if (row->starts[middle] <= place)
      low = middle;
    else
      high = middle;
  }
  *tensor = low, *offset = place - row->starts[low];
  int64_t left = row->starts[low + 1] - place;
  return left < count ? left : count;
}

/* Past the caches: what is written will not be read before it would have left them, and the line need not be fetched first. */
static void stream(float *to, const float *from, int64_t count) {
#if defined(__x86_64__)
  int64_t k = 0;
  for (; k < count && ((uintptr_t)(to + k) & 15); k++) to[k] = from[k];
  for (; k + 4 <= count; k += 4) _mm_stream_ps(to + k, _mm_loadu_ps(from + k));
  for (; k < count; k++) to[k] = from[k];
#else
  memcpy(to, from, count * sizeof(float));
#endif
}

int row_factored(const row_t *row, int64_t tensor) { return row->factored && row->factored[tensor]; }

void row_take(const row_t *row, float *to, int64_t place, int64_t count) {
  for (int64_t done = 0, length, tensor, offset; done < count; done += length) {
    length = row_find(row, place + done, count - done, &tensor, &offset);
    if (row_factored(row, tensor))
      factored_make(row->from[tensor], offset, length, to + done);
    else
      memcpy(to + done, row->from[tensor] + offset, length * sizeof(float));
  }
}

void row_give(const row_t *row, const float *from, int64_t place, int64_t count, int streamed) {
  for (int64_t done = 0, length, tensor, offset; done < count; done += length) {
    length = row_find(row, place + done, count - done, &tensor, &offset);
    if (streamed)
      stream(row->to[tensor] + offset, from + done, length);
    else
      memcpy(row->to[tensor] + offset, from + done, length * sizeof(float));
  }
}
