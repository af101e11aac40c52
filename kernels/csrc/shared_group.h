/* The ranks of a host that share memory, as the nodes know them by number: those that sum, and those that update. */
#ifndef CELLWRIGHT_SHARED_GROUP_H
#define CELLWRIGHT_SHARED_GROUP_H

#include <pthread.h>

#include "shared_allreduce.h"
#include "shared_ring.h"

#define CHANNELS 16
#define FEW (64 * 1024) /* numbers that are not worth waking the threads for */

typedef struct {
  ring_t ring;
  int channels;
  int64_t rows, pieces[CHANNELS];
  hosts_t *hosts; /* 0: this host is the only one */
  float *owned;   /* several hosts: the sums that this rank owns, of the blocks under way; then what they carry */
  int64_t room;
  float *carried; /* what bfloat16 has rounded off on this host, in memory that its ranks share; 0: never */
  int64_t carried_length;
  pthread_mutex_t lock;
  _Atomic int64_t moved[4]; /* bytes so far: tensors read, sums written, shared memory read, shared memory written */
} group_t;

extern atomic_int shared_silent; /* 1: no other rank is heard of */

/* The group of a number, or 0. */
group_t *group_of(int64_t number);
/* All ranks of a host must mean the same row, of so many numbers; returns 0, or a code where they do not. */
int group_begin_row(group_t *group, int64_t total);
/* A channel's thread has come to its end. */
void group_end_walk(group_t *group, int channel, const walk_t *walk);

#endif
