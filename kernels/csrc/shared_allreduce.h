/* Sums over ranks: inside a host through shared memory, between hosts by those ranks that own a part. */
#ifndef CELLWRIGHT_SHARED_H
#define CELLWRIGHT_SHARED_H

#include <stdint.h>

#include "shared_row.h"

/* Sums a row over all ranks of a group; returns 0 or a code. alone: on the calling thread, else by all threads of the pool.
 * carried: numbers travel between hosts as bfloat16, and what that rounds off is kept from this place on; EXACT: as they are. */
int shared_sum(int64_t number, const row_t *row, int alone, int64_t carried);
/* The same for a node of a graph: without communication (silence) the sums are the tensors themselves. */
int node_sum(int64_t number, const row_t *row, int alone, int64_t carried);
#define EXACT (-1)

/* This rank's part of a row of so many numbers that the ranks of its host have made together; returns 0 or a code. */
int shared_part(int64_t number, int64_t total, int64_t *begin, int64_t *end);
/* Makes this rank's part of a row, piece by piece on all threads of the pool, in row->to, where the others' parts come too; returns 0
 * or a code. of_sums: of the sums of row->from over the ranks, all of one host. */
int shared_hand_out(int64_t number, const row_t *row, int of_sums, make_t *make, void *argument);

typedef struct hosts hosts_t;

/* The way of a row between hosts, of those numbers that this rank owns, block by block. */
typedef struct {
  hosts_t *hosts;
  float *numbers;        /* [slot][room]: block b lies in slot b % slots, and its sums come there */
  float *carried;        /* likewise what bfloat16 rounds off; 0: float32 travels */
  int64_t blocks, slots; /* of the row; in `numbers` */
  int64_t room;          /* numbers of a slot */
  int64_t count, last;   /* numbers of a block, and of the last one */
  int64_t begun, added, ended; /* rounds, see hosts_allreduce.c */
} wire_t;

/* Sends what it can of the first `ready` blocks, and returns when the sums of the first `wanted` are there: 0, or a code of MPI. */
int hosts_sum(wire_t *wire, int64_t ready, int64_t wanted);
/* Numbers for which the caller has to leave room in a slot, at least count. */
int64_t hosts_room(const hosts_t *hosts, int64_t count);
/* Makes room for numbers in bfloat16; returns whether there is. */
int hosts_carry(hosts_t *hosts);
hosts_t *hosts_of(int number);

#endif
