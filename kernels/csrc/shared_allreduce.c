/* Sums over ranks: inside a host through memory that they share (shared_ring.c), between hosts by hosts_allreduce.c.
 *
 * The tensors are taken as one row of numbers (shared_row.c), of which each rank of a host owns a part. So the work of a rank does
 * not grow with their number, all ranks get the same bits, and these do not depend on the number of threads: each has a stretch of
 * the row, with slots of its own. The ring of slots fits the last-level cache: main memory sees each tensor once read and once written.
 *
 * With several hosts the row goes in blocks: while some are on the wire, the next one is added up and an earlier one is handed out.
 */
#include "shared_allreduce.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "clock.h"
#include "export.h"
#include "float_mode.h"
#include "operations.h"
#include "shared_group.h"
#include "thread_pool.h"

#define RING (8 << 20)         /* bytes of all slots together, where the pieces do not get too small by that */
#define PIECE_MOST (64 * 1024) /* numbers: 256 KiB */
#define PIECE_LEAST (4 * 1024)
#define GROUPS 64
#define BLOCK (1 << 20) /* numbers that go to the wire together */
#define AHEAD 3         /* blocks that are added up before the first one is back */

static group_t groups[GROUPS];
static int groups_count;
atomic_int shared_silent;

/* While it is 1 the node's results are its own tensors, and no other rank is heard of: what a step costs without the allreduce. */
EXPORT void cellwright_shared_silence(int on) { atomic_store(&shared_silent, on); }

static int64_t piece_of(int ranks, int channels) {
  int64_t piece = RING / (int64_t)sizeof(float) / SLOTS / ranks / channels / LINE * LINE;
  return piece > PIECE_MOST ? PIECE_MOST : piece < PIECE_LEAST ? PIECE_LEAST : piece;
}

/* Channels that a group of ranks with at least so many threads each has. */
EXPORT int cellwright_shared_channels(int threads) { return threads < CHANNELS ? threads : CHANNELS; }

/* Bytes of the memory that `ranks` processes share. */
EXPORT int64_t cellwright_shared_bytes(int ranks, int channels) {
  return (int64_t)ranks * channels * (sizeof(board_t) + sizeof(float) * SLOTS * piece_of(ranks, channels));
}

/* Joins a group through its shared memory, zero at first; returns its number, or -1. The first `owners` ranks add up. hosts: what
 * cellwright_hosts returned, or -1 on a single host. */
EXPORT int cellwright_shared_join(void *memory, int rank, int ranks, int channels, int owners, int hosts) {
  if (groups_count == GROUPS || ranks > RANKS || channels > CHANNELS || owners > ranks) return -1;
  group_t *group = &groups[groups_count];
  memset(group, 0, sizeof *group);
  float *slots = (float *)((char *)memory + (int64_t)ranks * channels * sizeof(board_t));
  group->ring = (ring_t){memory, slots, rank, ranks, owners, piece_of(ranks, channels)};
  group->channels = channels;
  group->hosts = hosts < 0 ? 0 : hosts_of(hosts);
  pthread_mutex_init(&group->lock, 0);
  return groups_count++;
}

/* Lets sums of a group travel between hosts as bfloat16: `carried`, of so many numbers, zero at first, keeps what that rounds off. The
 * ranks of a host have it in common, and each touches what it owns. Returns whether it can. */
EXPORT int cellwright_shared_carry(int number, float *carried, int64_t length) {
  group_t *group = &groups[number];
  if (!group->hosts || !hosts_carry(group->hosts)) return 0;
  group->carried = carried, group->carried_length = length;
  return 1;
}

/* Bytes that this rank has moved for a group so far: tensors read, sums written, shared memory read, shared memory written. */
EXPORT void cellwright_shared_moved(int number, int64_t *bytes) {
  for (int kind = 0; kind < 4; kind++) bytes[kind] = atomic_load(&groups[number].moved[kind]);
}

/* A walk of all channels through numbers [begin, begin + length) of the row. */
typedef struct {
  group_t *group;
  const row_t *row;
  int channels;
  int64_t begin, length;
  float *owned;
  void (*way)(walk_t *);
} round_t;

/* Numbers that this rank owns of the stretches of the channels before this one. */
static int64_t owned_before(const ring_t *ring, int64_t length, int channels, int channel) {
  if (ring->rank >= ring->owners) return 0;
  int64_t sum = 0;
  for (int before = 0; before < channel; before++) {
    int64_t stretch = cut(length, before + 1, channels) - cut(length, before, channels);
    sum += cut(stretch, ring->rank + 1, ring->owners) - cut(stretch, ring->rank, ring->owners);
  }
  return sum;
}

void group_end_walk(group_t *group, int channel, const walk_t *walk) {
  group->pieces[channel] += walk->steps;
#if defined(__x86_64__)
  _mm_sfence();
#endif
  for (int kind = 0; kind < 4; kind++) atomic_fetch_add(&group->moved[kind], walk->moved[kind] * (int64_t)sizeof(float));
}

static void walk_channel(int channel, void *argument) {
  const round_t *round = argument;
  group_t *group = round->group;
  if (channel >= round->channels) return;
  int64_t first = cut(round->length, channel, round->channels), end = cut(round->length, channel + 1, round->channels);
  walk_t walk = walk_begin(&group->ring, round->row, channel, group->pieces[channel], round->begin + first, end - first);
  if (round->owned) walk.owned = round->owned + owned_before(&group->ring, round->length, round->channels, channel);
  round->way(&walk);
  group_end_walk(group, channel, &walk);
}

static void walk_all(round_t round) {
  if (round.channels == 1)
    walk_channel(0, &round);
  else
    pool_run(walk_channel, &round);
}

int group_begin_row(group_t *group, int64_t total) {
  board_t *boards = group->ring.boards, *own = &boards[group->ring.rank];
  int64_t row = group->rows++;
  own->totals[row % 2] = total;
  publish(&own->called, row + 1);
  int code = 0;
  for (int rank = 0; rank < group->ring.ranks; rank++) {
    wait_for(&boards[rank].called, row + 1);
    if (boards[rank].totals[row % 2] != total) code = ERROR_RANKS_DIFFER;
  }
  return code;
}

/* What this rank owns of a block's carried numbers: into `owned`, where they lie like its sums, or back. */
static void move_carried(group_t *group, const round_t *round, float *carried, int back) {
  const ring_t *ring = &group->ring;
  float *owned = round->owned;
  for (int channel = 0; channel < round->channels; channel++) {
    int64_t begin = cut(round->length, channel, round->channels);
    int64_t stretch = cut(round->length, channel + 1, round->channels) - begin;
    int64_t first = cut(stretch, ring->rank, ring->owners), count = cut(stretch, ring->rank + 1, ring->owners) - first;
    float *kept = carried + round->begin + begin + first;
    memcpy(back ? kept : owned, back ? owned : kept, count * sizeof(float));
    owned += count;
  }
}

static int make_room(group_t *group, int64_t room) {
  if (room <= group->room) return 1;
  free(group->owned);
  group->owned = aligned_alloc(64, (room * sizeof(float) + 63) / 64 * 64);
  group->room = group->owned ? room : 0;
  return !!group->owned;
}

/* Block after block is added up here, put on the wire, and AHEAD blocks later handed out. What was rounded off is back in its place
 * before the sums are handed out, so a rank that has them may look at all of its host. */
static int sum_between_hosts(group_t *group, const row_t *row, int64_t total, int channels, int64_t carried) {
  const ring_t *ring = &group->ring;
  int64_t block = total < BLOCK ? total : BLOCK, blocks = total ? (total + block - 1) / block : 0;
  int64_t last = total - (blocks - 1) * block;
  int owner = ring->rank < ring->owners, code = 0;
  wire_t wire = {.hosts = group->hosts, .blocks = blocks, .slots = AHEAD + 1};
  wire.count = owned_before(ring, block, channels, channels), wire.last = owned_before(ring, last, channels, channels);
  wire.room = hosts_room(group->hosts, wire.count);
  int64_t room = wire.room * (wire.slots < blocks ? wire.slots : blocks);
  if (owner && !make_room(group, carried == EXACT ? room : 2 * room)) return ERROR_NO_MEMORY;
  wire.numbers = group->owned, wire.carried = carried == EXACT ? 0 : group->owned + room;
  float *kept = group->carried + (carried == EXACT ? 0 : carried);
  round_t round = {.group = group, .row = row, .channels = channels};
  for (int64_t turn = 0; turn < blocks + AHEAD; turn++) {
    int64_t ready = turn < blocks ? turn + 1 : blocks, back = turn - AHEAD;
    if (turn < blocks) {
      round.begin = turn * block, round.length = turn == blocks - 1 ? last : block, round.way = scatter;
      round.owned = owner ? wire.numbers + turn % wire.slots * wire.room : 0;
      walk_all(round);
      if (owner && wire.carried) {
        round.owned = wire.carried + turn % wire.slots * wire.room;
        move_carried(group, &round, kept, 0);
      }
    }
    if (owner && !code) code = hosts_sum(&wire, ready, back + 1 > 0 ? back + 1 : 0);
    if (back >= 0 && back < blocks) {
      round.begin = back * block, round.length = back == blocks - 1 ? last : block, round.way = gather;
      if (owner && wire.carried) {
        round.owned = wire.carried + back % wire.slots * wire.room;
        move_carried(group, &round, kept, 1);
      }
      round.owned = owner ? wire.numbers + back % wire.slots * wire.room : 0;
      walk_all(round);
    }
  }
  return code;
}

group_t *group_of(int64_t number) { return number < 0 || number >= groups_count ? 0 : &groups[number]; }

int shared_sum(int64_t number, const row_t *row, int alone, int64_t carried) {
  group_t *group = group_of(number);
  if (!group) return ERROR_UNKNOWN_GROUP;
  int64_t total = row->starts[row->tensors];
  if (carried != EXACT && (carried < 0 || !group->carried || carried + total > group->carried_length)) return ERROR_NOT_CARRIED;
  pthread_mutex_lock(&group->lock);
  unsigned before = float_mode_begin();
  int code = group_begin_row(group, total), channels = alone || total < FEW ? 1 : group->channels;
  if (!code && group->hosts)
    code = sum_between_hosts(group, row, total, channels, carried);
  else if (!code)
    walk_all((round_t){group, row, channels, 0, total, 0, sum_here});
  float_mode_end(before);
  pthread_mutex_unlock(&group->lock);
  return code;
}

/* Sums tensors of these many numbers; the same as the node, for those who have no graph. */
EXPORT int cellwright_shared_sum(int number, int tensors, float *const *from, float **to, const int64_t *starts,
                                 int64_t carried) {
  row_t row = {from, to, starts, tensors};
  return shared_sum(number, &row, 0, carried);
}

int node_sum(int64_t number, const row_t *row, int alone, int64_t carried) {
  if (!atomic_load(&shared_silent)) return shared_sum(number, row, alone, carried);
  for (int64_t k = 0; k < row->tensors; k++)
    memcpy(row->to[k], row->from[k], (row->starts[k + 1] - row->starts[k]) * sizeof(float));
  return 0;
}

/* The node: the number of the group and, if it carries, from which place on; then any number of tensors, then as many results. */
EXPORT int cellwright_shared_allreduce(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes,
                                       void *stream, void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 1) / 2;
  if (nparam < 3 || nparam % 2 == 0 || strcmp(dtypes[0], "int64")) return ERROR_WRONG_TENSORS;
  int64_t *starts = malloc((count + 1) * sizeof *starts);
  if (!starts) return ERROR_NO_MEMORY;
  int code = 0;
  starts[0] = 0;
  for (int64_t k = 0; k < count; k++) {
    int64_t floats = 1;
    if (strcmp(dtypes[1 + k], "float32")) code = ERROR_WRONG_TENSORS;
    for (int axis = 0; axis < ndims[1 + k]; axis++) floats *= shapes[1 + k][axis];
    starts[k + 1] = starts[k] + floats;
  }
  if (!code) {
    row_t row = {(float **)params + 1, (float **)params + 1 + count, starts, count};
    const int64_t *group = params[0];
    int64_t begin = clock_begin();
    code = node_sum(group[0], &row, 0, ndims[0] && shapes[0][0] > 1 ? group[1] : EXACT);
    clock_end_node(begin, CLOCK_ALLREDUCE, starts[count]);
  }
  free(starts);
  return code;
}
