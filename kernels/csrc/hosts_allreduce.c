/* Sums between hosts, over MPI: what one owner of a part on each host does, one communicator an owner.
 *
 * Each of H hosts answers for 1/H of the numbers: all send it theirs, it adds them up in the order of the hosts, and sends the
 * sums to all. So a host sends and receives 2 (H - 1) / H of the numbers, whatever its number of ranks, and all get the same bits.
 * This goes chunk by chunk: while one is added up the next is on its way.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared_allreduce.h"

#define EXPORT __attribute__((visibility("default")))
#if defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define LINE 16
#define CHUNK (1 << 19) /* numbers that one host sends another at a time: 2 MiB */
#define MOST 64
#define STATUS 64 /* bytes, no fewer than an MPI_Status has */

/* MPI_Isend and MPI_Irecv; MPI_Waitall. Handles are pointers in Open MPI and ints in MPICH, read from the low half. */
typedef int (*message_t)(void *, int, intptr_t type, int host, int tag, intptr_t comm, void *request);
typedef int (*waitall_t)(int, void *requests, void *statuses);
typedef struct {
  message_t send, receive;
  waitall_t waitall;
  intptr_t type, comm;
  int request_bytes;
} mpi_t;

typedef struct { /* messages under way */
  char *requests;
  int count;
} flight_t;

struct hosts {
  mpi_t mpi;
  int count, own;
  float *received[2]; /* of two chunks, [host][chunk] */
  flight_t parts[2], sums[2];
  char *statuses;
};

static hosts_t all[MOST];
static int all_count;

/* Returns the number of a group of hosts for cellwright_shared_join, or -1. */
EXPORT int cellwright_hosts(message_t send, message_t receive, waitall_t waitall, intptr_t type, intptr_t comm,
                            int request_bytes, int count, int own) {
  if (all_count == MOST) return -1;
  hosts_t *hosts = &all[all_count];
  *hosts = (hosts_t){.mpi = {send, receive, waitall, type, comm, request_bytes}, .count = count, .own = own};
  hosts->statuses = malloc((size_t)STATUS * 2 * count);
  for (int turn = 0; turn < 2; turn++) {
    hosts->received[turn] = malloc(sizeof(float) * CHUNK * (size_t)count);
    hosts->parts[turn].requests = malloc((size_t)request_bytes * 2 * count);
    hosts->sums[turn].requests = malloc((size_t)request_bytes * 2 * count);
    if (!hosts->received[turn] || !hosts->parts[turn].requests || !hosts->sums[turn].requests || !hosts->statuses) return -1;
  }
  return all_count++;
}

hosts_t *hosts_of(int number) { return &all[number]; }

static int64_t share_of(const hosts_t *hosts, int64_t count) {
  return ((count + hosts->count - 1) / hosts->count + LINE - 1) / LINE * LINE;
}

int64_t hosts_room(const hosts_t *hosts, int64_t count) { return share_of(hosts, count) * hosts->count; }

static int post(const hosts_t *hosts, message_t message, flight_t *flight, float *numbers, int64_t count, int host, int tag) {
  void *request = flight->requests + (size_t)hosts->mpi.request_bytes * flight->count++;
  return message(numbers, (int)count, hosts->mpi.type, host, tag, hosts->mpi.comm, request);
}

static int land(const hosts_t *hosts, flight_t *flight) {
  int count = flight->count;
  flight->count = 0;
  return hosts->mpi.waitall(count, flight->requests, hosts->statuses);
}

/* The sum of all hosts' numbers in their order; the own ones are where the result goes. */
WIDE static void add_in_order(float *restrict result, const float *restrict received, int hosts, int own, int64_t count) {
  for (int64_t k = 0; k < count; k++) {
    float sum = own == 0 ? result[k] : received[k];
    for (int host = 1; host < hosts; host++) sum += host == own ? result[k] : received[host * (int64_t)CHUNK + k];
    result[k] = sum;
  }
}

static int64_t length_of(int64_t share, int64_t chunk) {
  int64_t left = share - chunk * CHUNK;
  return left < CHUNK ? left : CHUNK;
}

/* A chunk's numbers to those that answer for them, and theirs to this one. */
static int exchange_parts(hosts_t *hosts, float *numbers, int64_t share, int64_t chunk) {
  flight_t *flight = &hosts->parts[chunk % 2];
  int64_t length = length_of(share, chunk);
  int code = 0;
  for (int turn = 1; turn < hosts->count && !code; turn++) {
    int from = (hosts->own + hosts->count - turn) % hosts->count, to = (hosts->own + turn) % hosts->count;
    code = post(hosts, hosts->mpi.receive, flight, hosts->received[chunk % 2] + (int64_t)from * CHUNK, length, from, 1);
    if (!code) code = post(hosts, hosts->mpi.send, flight, numbers + to * share + chunk * CHUNK, length, to, 1);
  }
  return code;
}

static int exchange_sums(hosts_t *hosts, float *numbers, int64_t share, int64_t chunk) {
  flight_t *flight = &hosts->sums[chunk % 2];
  int64_t length = length_of(share, chunk);
  int code = 0;
  for (int turn = 1; turn < hosts->count && !code; turn++) {
    int from = (hosts->own + hosts->count - turn) % hosts->count, to = (hosts->own + turn) % hosts->count;
    code = post(hosts, hosts->mpi.receive, flight, numbers + from * share + chunk * CHUNK, length, from, 2);
    if (!code) code = post(hosts, hosts->mpi.send, flight, numbers + hosts->own * share + chunk * CHUNK, length, to, 2);
  }
  return code;
}

int hosts_sum(hosts_t *hosts, float *numbers, int64_t count) {
  int64_t share = share_of(hosts, count), chunks = (share + CHUNK - 1) / CHUNK;
  memset(numbers + count, 0, (share * hosts->count - count) * sizeof(float));
  int code = chunks ? exchange_parts(hosts, numbers, share, 0) : 0;
  for (int64_t chunk = 0; chunk < chunks && !code; chunk++) {
    if (chunk + 1 < chunks) code = exchange_parts(hosts, numbers, share, chunk + 1);
    if (!code) code = land(hosts, &hosts->parts[chunk % 2]);
    if (code) break;
    float *own = numbers + hosts->own * share + chunk * CHUNK;
    add_in_order(own, hosts->received[chunk % 2], hosts->count, hosts->own, length_of(share, chunk));
    code = exchange_sums(hosts, numbers, share, chunk);
    if (!code && chunk > 0) code = land(hosts, &hosts->sums[(chunk - 1) % 2]);
  }
  return code || !chunks ? code : land(hosts, &hosts->sums[(chunks - 1) % 2]);
}
