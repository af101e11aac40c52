/* Sums between hosts, over MPI: what one owner of a part on each host does, one communicator an owner.
 *
 * The numbers go in rounds. Of a round each of H hosts answers for 1/H: all send it theirs, it adds them up in the order of the
 * hosts, and sends the sums to all. So a host sends and receives 2 (H - 1) / H of the numbers, whatever its number of ranks, and all
 * get the same bits. Many rounds are under way at a time. Messages are small: between two namespaces with 1 Gbit/s and messages of
 * 2 MiB Open MPI 5 sends and receives by turns, 1.4 to 2.1 times as long as the link needs; with 60 KiB it is 1.06.
 *
 * As bfloat16 numbers are half as long on both ways: a host rounds what it sends, and the one that answers for a number rounds the
 * sum, its own copy too. Each carries what it has rounded off to the next time: of a number a host is one or the other.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "shared_allreduce.h"
#include "shared_ring.h"
#include "target_clones.h"
#include "wire_bfloat16.h"

#define CHUNK (15 * 1024) /* numbers that one host sends another at a time: 60 KiB, which Open MPI's TCP sends unasked */
#define FLIGHTS 16        /* rounds under way, of parts and of sums */
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

typedef struct { /* messages of a round */
  char *requests;
  int count;
} flight_t;

typedef struct {
  float *numbers; /* [host][share], `left` of them the block's */
  float *carried; /* likewise, or 0 */
  int64_t left, share;
} round_t;

struct hosts {
  mpi_t mpi;
  int count, own;
  float *received; /* [flight][host][chunk] */
  uint16_t *halves; /* [parts there, parts back, sums][flight][host][chunk]: in bfloat16; 0: never */
  flight_t parts[FLIGHTS], sums[FLIGHTS];
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
  hosts->received = malloc(sizeof(float) * CHUNK * FLIGHTS * (size_t)count);
  if (!hosts->statuses || !hosts->received) return -1;
  for (int turn = 0; turn < FLIGHTS; turn++) {
    hosts->parts[turn].requests = malloc((size_t)request_bytes * 2 * count);
    hosts->sums[turn].requests = malloc((size_t)request_bytes * 2 * count);
    if (!hosts->parts[turn].requests || !hosts->sums[turn].requests) return -1;
  }
  return all_count++;
}

hosts_t *hosts_of(int number) { return &all[number]; }

int hosts_carry(hosts_t *hosts) {
  if (!hosts->halves) hosts->halves = malloc(sizeof(uint16_t) * CHUNK * FLIGHTS * 3 * (size_t)hosts->count);
  return !!hosts->halves;
}

enum { SENT, RECEIVED, SUMS };

static uint16_t *halves_of(const hosts_t *hosts, int kind, int turn, int host) {
  return hosts->halves + (((int64_t)kind * FLIGHTS + turn) * hosts->count + host) * CHUNK;
}

static int64_t rounds_of(const hosts_t *hosts, int64_t count) {
  int64_t round = (int64_t)CHUNK * hosts->count;
  return (count + round - 1) / round;
}

int64_t hosts_room(const hosts_t *hosts, int64_t count) { return rounds_of(hosts, count) * CHUNK * hosts->count; }

static int post(const hosts_t *hosts, message_t message, flight_t *flight, void *numbers, int64_t count, int host, int tag) {
  void *request = flight->requests + (size_t)hosts->mpi.request_bytes * flight->count++;
  return message(numbers, (int)count, hosts->mpi.type, host, tag, hosts->mpi.comm, request);
}

/* The same of numbers in bfloat16, a multiple of LINE of them: two travel as one float32. */
static int post_halves(const hosts_t *hosts, message_t message, flight_t *flight, uint16_t *halves, int64_t count, int host,
                       int tag) {
  return post(hosts, message, flight, halves, count / 2, host, tag);
}

static int land(const hosts_t *hosts, flight_t *flight) {
  int count = flight->count;
  flight->count = 0;
  return hosts->mpi.waitall(count, flight->requests, hosts->statuses);
}

/* The sum of all hosts' numbers in their order; the own ones are where the result goes. */
TARGET_CLONES("avx2")
static void add_in_order(float *restrict result, const float *restrict received, int hosts, int own, int64_t count) {
  for (int64_t k = 0; k < count; k++) {
    float sum = own == 0 ? result[k] : received[k];
    for (int host = 1; host < hosts; host++) sum += host == own ? result[k] : received[host * (int64_t)CHUNK + k];
    result[k] = sum;
  }
}

/* A round's numbers to those that answer for them, and theirs to this one. */
static int exchange_parts(hosts_t *hosts, const round_t *round, int turn) {
  flight_t *flight = &hosts->parts[turn];
  float *received = hosts->received + (int64_t)turn * hosts->count * CHUNK;
  int64_t behind = round->share * hosts->count - round->left;
  if (behind > 0) memset(round->numbers + round->left, 0, behind * sizeof(float));
  if (behind > 0 && round->carried) memset(round->carried + round->left, 0, behind * sizeof(float));
  int code = 0;
  for (int step = 1; step < hosts->count && !code; step++) {
    int from = (hosts->own + hosts->count - step) % hosts->count, to = (hosts->own + step) % hosts->count;
    if (round->carried) {
      uint16_t *sent = halves_of(hosts, SENT, turn, to);
      code = post_halves(hosts, hosts->mpi.receive, flight, halves_of(hosts, RECEIVED, turn, from), round->share, from, 1);
      round_off(sent, round->numbers + to * round->share, round->carried + to * round->share, round->share);
      if (!code) code = post_halves(hosts, hosts->mpi.send, flight, sent, round->share, to, 1);
      continue;
    }
    code = post(hosts, hosts->mpi.receive, flight, received + (int64_t)from * CHUNK, round->share, from, 1);
    if (!code) code = post(hosts, hosts->mpi.send, flight, round->numbers + to * round->share, round->share, to, 1);
  }
  return code;
}

/* All hosts take the rounded sums, the one that answers for them too. */
static int exchange_rounded_sums(hosts_t *hosts, const round_t *round, int turn) {
  flight_t *flight = &hosts->sums[turn];
  float *own = round->numbers + hosts->own * round->share;
  uint16_t *sent = halves_of(hosts, SUMS, turn, hosts->own);
  add_widened(own, halves_of(hosts, RECEIVED, turn, 0), CHUNK, hosts->count, hosts->own, round->share);
  round_off(sent, own, round->carried + hosts->own * round->share, round->share);
  widen(own, sent, round->share);
  int code = 0;
  for (int step = 1; step < hosts->count && !code; step++) {
    int from = (hosts->own + hosts->count - step) % hosts->count, to = (hosts->own + step) % hosts->count;
    code = post_halves(hosts, hosts->mpi.receive, flight, halves_of(hosts, SUMS, turn, from), round->share, from, 2);
    if (!code) code = post_halves(hosts, hosts->mpi.send, flight, sent, round->share, to, 2);
  }
  return code;
}

static int exchange_sums(hosts_t *hosts, const round_t *round, int turn) {
  flight_t *flight = &hosts->sums[turn];
  float *own = round->numbers + hosts->own * round->share;
  int code = land(hosts, &hosts->parts[turn]);
  if (code) return code;
  if (round->carried) return exchange_rounded_sums(hosts, round, turn);
  add_in_order(own, hosts->received + (int64_t)turn * hosts->count * CHUNK, hosts->count, hosts->own, round->share);
  for (int step = 1; step < hosts->count && !code; step++) {
    int from = (hosts->own + hosts->count - step) % hosts->count, to = (hosts->own + step) % hosts->count;
    code = post(hosts, hosts->mpi.receive, flight, round->numbers + from * round->share, round->share, from, 2);
    if (!code) code = post(hosts, hosts->mpi.send, flight, own, round->share, to, 2);
  }
  return code;
}

/* The others' sums of a round are there. */
static int take_sums(hosts_t *hosts, const round_t *round, int turn) {
  int code = land(hosts, &hosts->sums[turn]);
  for (int host = 0; host < hosts->count && round->carried && !code; host++)
    if (host != hosts->own) widen(round->numbers + host * round->share, halves_of(hosts, SUMS, turn, host), round->share);
  return code;
}

/* A block of no numbers has one round of none. */
static int64_t rounds_of_block(const wire_t *wire, int64_t block) {
  int64_t rounds = rounds_of(wire->hosts, block == wire->blocks - 1 ? wire->last : wire->count);
  return rounds ? rounds : 1;
}

static int64_t block_of(const wire_t *wire, int64_t round) {
  int64_t block = round / rounds_of_block(wire, 0);
  return block < wire->blocks ? block : wire->blocks - 1;
}

/* Round `number` of all, of a block's numbers; what is behind them is sent as zeros. */
static round_t round_of(const wire_t *wire, int64_t number) {
  const hosts_t *hosts = wire->hosts;
  int64_t block = block_of(wire, number), begin = (number - block * rounds_of_block(wire, 0)) * CHUNK * hosts->count;
  int64_t place = block % wire->slots * wire->room + begin;
  int64_t left = (block == wire->blocks - 1 ? wire->last : wire->count) - begin;
  int64_t share = (left + hosts->count - 1) / hosts->count;
  share = share < CHUNK ? (share + LINE - 1) / LINE * LINE : CHUNK;
  return (round_t){wire->numbers + place, wire->carried ? wire->carried + place : 0, left, share};
}

int hosts_sum(wire_t *wire, int64_t ready, int64_t wanted) {
  hosts_t *hosts = wire->hosts;
  int64_t whole = rounds_of_block(wire, 0), rest = rounds_of_block(wire, wire->blocks - 1) - whole;
  int64_t sendable = ready * whole + (ready == wire->blocks ? rest : 0);
  int64_t end = wanted * whole + (wanted == wire->blocks ? rest : 0);
  int code = 0;
  while (!code) {
    if (wire->begun < sendable && wire->begun - wire->added < FLIGHTS) {
      round_t round = round_of(wire, wire->begun);
      code = exchange_parts(hosts, &round, wire->begun++ % FLIGHTS);
    } else if (wire->ended >= end) {
      break;
    } else if (wire->added < wire->begun && wire->added - wire->ended < FLIGHTS) {
      round_t round = round_of(wire, wire->added);
      code = exchange_sums(hosts, &round, wire->added++ % FLIGHTS);
    } else {
      round_t round = round_of(wire, wire->ended);
      code = take_sums(hosts, &round, wire->ended++ % FLIGHTS);
    }
  }
  return code;
}
