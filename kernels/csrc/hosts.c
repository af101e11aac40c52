/* Sums between hosts, over MPI: what one owner of a part on each host does, one communicator an owner.
 *
 * Each of H hosts answers for 1/H of the numbers: all send it theirs, it adds them up in the order of the hosts, and sends the
 * sums to all. So a host sends and receives 2 (H - 1) / H of the numbers, whatever its number of ranks, and all get the same bits.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "shared.h"

#define EXPORT __attribute__((visibility("default")))
#define LINE 16
#define CHUNK (1 << 20) /* numbers that one host sends another at a time: 4 MiB */
#define MOST 64

/* MPI_Alltoall and MPI_Allgather. Handles are pointers in Open MPI and ints in MPICH, read from the low half. */
typedef int (*exchange_t)(const void *from, int, intptr_t, void *to, int, intptr_t type, intptr_t comm);

struct hosts {
  exchange_t alltoall, allgather;
  intptr_t byte, comm;
  int count, own;
  float *sent, *received;
};

static hosts_t all[MOST];
static int all_count;

/* Returns the number of a group of hosts for cellwright_shared_join, or -1. */
EXPORT int cellwright_hosts(exchange_t alltoall, exchange_t allgather, intptr_t byte, intptr_t comm, int count, int own) {
  if (all_count == MOST) return -1;
  size_t bytes = sizeof(float) * CHUNK * (size_t)count;
  float *sent = malloc(bytes), *received = malloc(bytes);
  if (!sent || !received) return -1;
  all[all_count] = (hosts_t){alltoall, allgather, byte, comm, count, own, sent, received};
  return all_count++;
}

hosts_t *hosts_of(int number) { return &all[number]; }

static int64_t share_of(const hosts_t *hosts, int64_t count) {
  return ((count + hosts->count - 1) / hosts->count + LINE - 1) / LINE * LINE;
}

int64_t hosts_room(const hosts_t *hosts, int64_t count) { return share_of(hosts, count) * hosts->count; }

int hosts_sum(hosts_t *hosts, float *numbers, int64_t count) {
  int64_t share = share_of(hosts, count);
  int code = 0;
  memset(numbers + count, 0, (share * hosts->count - count) * sizeof(float));
  for (int64_t begin = 0; begin < share && !code; begin += CHUNK) {
    int64_t length = share - begin < CHUNK ? share - begin : CHUNK;
    int bytes = (int)(length * sizeof(float));
    for (int host = 0; host < hosts->count; host++)
      memcpy(hosts->sent + host * length, numbers + host * share + begin, bytes);
    code = hosts->alltoall(hosts->sent, bytes, hosts->byte, hosts->received, bytes, hosts->byte, hosts->comm);
    if (code) break;
    float *sum = hosts->sent;
    memcpy(sum, hosts->received, bytes);
    for (int host = 1; host < hosts->count; host++)
      for (int64_t k = 0; k < length; k++) sum[k] += hosts->received[host * length + k];
    code = hosts->allgather(sum, bytes, hosts->byte, hosts->received, bytes, hosts->byte, hosts->comm);
    for (int host = 0; host < hosts->count; host++)
      memcpy(numbers + host * share + begin, hosts->received + host * length, bytes);
  }
  return code;
}
