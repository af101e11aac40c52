/* Sums over ranks: inside a host through shared memory, between hosts by those ranks that own a part. */
#ifndef CELLWRIGHT_SHARED_H
#define CELLWRIGHT_SHARED_H

#include <stdint.h>

typedef struct {
  float *const *from, **to; /* tensors and their sums */
  const int64_t *starts;    /* of each tensor in the row that they make, and the length of the row */
  int64_t tensors;
} row_t;

/* Sums a row over all ranks of a group; returns 0 or a code. alone: on the calling thread, else by all threads of the pool. */
int shared_sum(int64_t number, const row_t *row, int alone);

/* The sum over hosts of the numbers that this rank owns, in place. */
typedef struct hosts hosts_t;
int hosts_sum(hosts_t *hosts, float *numbers, int64_t count);
/* Numbers for which the caller has to leave room, at least count. */
int64_t hosts_room(const hosts_t *hosts, int64_t count);
hosts_t *hosts_of(int number);

#endif
