/* The ring of slots that the ranks of a host share, and one thread's way through its stretch of a row. */
#ifndef CELLWRIGHT_SHARED_RING_H
#define CELLWRIGHT_SHARED_RING_H

#include <stdatomic.h>
#include <stdint.h>

#include "shared_row.h"

#define LINE 16 /* numbers in a cache line: parts begin at one */
#define SLOTS 4
#define RANKS 64

typedef struct {
  _Atomic int64_t called;                /* rows begun: of channel 0 alone */
  _Atomic int64_t written, summed, read; /* pieces */
  int64_t totals[2];                     /* lengths of the rows begun, as a rank may begin the next before another has looked */
  char padding[128 - 8 * 6];
} board_t;

typedef struct {
  board_t *boards; /* [channel][rank] */
  float *slots;    /* [channel][rank][slot][piece] */
  int rank, ranks, owners;
  int64_t piece; /* numbers of a slot */
} ring_t;

/* One thread's way through its stretch of the row. */
typedef struct {
  const ring_t *ring;
  const row_t *row;
  board_t *boards;
  float *slots, *owned;
  int64_t begin, length; /* of the stretch */
  int64_t piece, apart;  /* numbers of one owner in a slot, and from there to the next one's; 0: it holds one owner's alone */
  int64_t base, steps;   /* pieces before, pieces now */
  int streamed;
  int owners, channel, channels; /* channels: of a row that is made, where this thread is one of so many; else 0 */
  make_t *make;                  /* 0: the row is summed alone */
  void *argument;
  int64_t moved[4]; /* numbers: of tensors read, of sums written, of the ring read, of the ring written */
} walk_t;

/* Where part `part` of `parts` of a length begins. */
int64_t cut(int64_t length, int64_t part, int64_t parts);
/* A walk of a channel's thread through numbers [begin, begin + length) of a row, `base` pieces after the first of all. */
walk_t walk_begin(const ring_t *ring, const row_t *row, int channel, int64_t base, int64_t begin, int64_t length);
/* One host: the sums over its ranks into the row, or what each rank makes of its part of the sums. */
void sum_here(walk_t *walk);
/* Several hosts: the sums of this host into `owned`; and what is in `owned` to all ranks of this host. */
void scatter(walk_t *walk);
void gather(walk_t *walk);

/* One host: each rank makes its part of a row and gives it to the others; of the sums (sum_here), or by itself (hand_out). */
walk_t making_begin(const ring_t *ring, const row_t *row, int channel, int channels, int64_t base, int of_sums);
void hand_out(walk_t *walk);

void wait_for(_Atomic int64_t *counter, int64_t value);
void publish(_Atomic int64_t *counter, int64_t value);

#endif
