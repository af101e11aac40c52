/* Allreduce between processes: inside a host through memory that they share, between hosts by hosts_allreduce.c.
 *
 * The tensors are taken as one row of numbers. Each rank of a host owns a part of it: a rank copies what others own into slots of
 * its own, adds up what it owns from its tensors and the others' slots, in the order of the ranks, puts the sums into its slot, and
 * copies the others' sums out of theirs. So the work of a rank does not grow with their number, all ranks get the same bits, and
 * these do not depend on the number of threads: each has a stretch of the row, with slots of its own. The ring of slots fits the
 * last-level cache: main memory sees each tensor once read and once written.
 *
 * With several hosts the sums of the owned part go through hosts_allreduce.c before they are put into the slots.
 */
#include "shared_allreduce.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#include "clock.h"
#include "thread_pool.h"

#define EXPORT __attribute__((visibility("default")))
#if defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define RING (8 << 20)         /* bytes of all slots together, where the pieces do not get too small by that */
#define PIECE_MOST (64 * 1024) /* numbers: 256 KiB */
#define PIECE_LEAST (4 * 1024)
#define LINE 16 /* numbers in a cache line: parts begin at one */
#define SLOTS 4
#define RANKS 64
#define CHANNELS 16
#define GROUPS 64
#define SPINS 4000
#define YIELDS 200
#define FEW (64 * 1024)        /* numbers that are not worth waking the threads for */
#define STREAMED (4 << 20)     /* from so many numbers on the results would not stay in the cache */

typedef struct {
  _Atomic int64_t called;                /* rows begun: of channel 0 alone */
  _Atomic int64_t written, summed, read; /* pieces */
  int64_t totals[2];                     /* lengths of the rows begun, as a rank may begin the next before another has looked */
  char padding[128 - 8 * 6];
} board_t;

typedef struct {
  board_t *boards; /* [channel][rank] */
  float *slots;    /* [channel][rank][slot][piece] */
  int rank, ranks, owners, channels;
  int64_t piece, rows, pieces[CHANNELS];
  hosts_t *hosts; /* 0: this host is the only one */
  float *owned;   /* several hosts: the sums that this rank owns */
  int64_t room;
  pthread_mutex_t lock;
  _Atomic int64_t moved[4]; /* bytes so far: tensors read, sums written, shared memory read, shared memory written */
} group_t;

static group_t groups[GROUPS];
static int groups_count;
static atomic_int silent;

/* While it is 1 the node's results are its own tensors, and no other rank is heard of: what a step costs without the allreduce. */
EXPORT void cellwright_shared_silence(int on) { atomic_store(&silent, on); }

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
  group->boards = memory;
  group->slots = (float *)((char *)memory + (int64_t)ranks * channels * sizeof(board_t));
  group->rank = rank, group->ranks = ranks, group->channels = channels, group->owners = owners;
  group->piece = piece_of(ranks, channels);
  group->hosts = hosts < 0 ? 0 : hosts_of(hosts);
  pthread_mutex_init(&group->lock, 0);
  return groups_count++;
}

/* Bytes that this rank has moved for a group so far: tensors read, sums written, shared memory read, shared memory written. */
EXPORT void cellwright_shared_moved(int number, int64_t *bytes) {
  for (int kind = 0; kind < 4; kind++) bytes[kind] = atomic_load(&groups[number].moved[kind]);
}

static void wait_for(_Atomic int64_t *counter, int64_t value) {
  for (int spin = 0; atomic_load_explicit(counter, memory_order_acquire) < value; spin++) {
    if (spin < SPINS) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    } else if (spin < SPINS + YIELDS) {
      sched_yield();
    } else {
      nanosleep(&(struct timespec){0, 20000}, 0); /* more ranks than cores: the others need this one */
    }
  }
}

static void publish(_Atomic int64_t *counter, int64_t value) { atomic_store_explicit(counter, value, memory_order_release); }

WIDE static void add_up(float *restrict result, float *const *sources, int ranks, int64_t count) {
  if (ranks == 2) {
    const float *restrict a = sources[0], *restrict b = sources[1];
    for (int64_t k = 0; k < count; k++) result[k] = a[k] + b[k];
    return;
  }
  for (int64_t start = 0; start < count; start += 1024) {
    int64_t length = count - start < 1024 ? count - start : 1024;
    memcpy(result + start, sources[0] + start, length * sizeof(float));
    for (int rank = 1; rank < ranks; rank++)
      for (int64_t k = 0; k < length; k++) result[start + k] += sources[rank][start + k];
  }
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

/* One thread's way through its stretch of the row. */
typedef struct {
  group_t *group;
  const row_t *row;
  board_t *boards;
  float *slots, *owned;
  int channel;
  int64_t begin, length; /* of the stretch */
  int64_t piece;         /* numbers of one owner in a slot */
  int64_t base, steps;   /* pieces before, pieces now */
  int streamed;
  int64_t moved[4];
} walk_t;

static int64_t cut(int64_t length, int64_t part, int64_t parts) {
  return part == parts ? length : length * part / parts / LINE * LINE;
}

/* What an owner has of piece `step`: where in the row, and how much, perhaps nothing. */
static int64_t owned_range(const walk_t *walk, int owner, int64_t step, int64_t *begin) {
  int64_t first = cut(walk->length, owner, walk->group->owners), end = cut(walk->length, owner + 1, walk->group->owners);
  first += step * walk->piece;
  *begin = walk->begin + first;
  return end - first < 0 ? 0 : end - first < walk->piece ? end - first : walk->piece;
}

static float *slot_of(const walk_t *walk, int rank, int64_t step, int owner) {
  int64_t slot = (walk->base + step) % SLOTS;
  return walk->slots + ((int64_t)rank * SLOTS + slot) * walk->group->piece + owner * walk->piece;
}

/* Finds the tensor that holds a place of the row; returns how many of `count` numbers from there on it holds. */
static int64_t find(const row_t *row, int64_t place, int64_t count, int64_t *tensor, int64_t *offset) {
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

static void take(walk_t *walk, float *to, int64_t place, int64_t count) {
  for (int64_t done = 0, length, tensor, offset; done < count; done += length) {
    length = find(walk->row, place + done, count - done, &tensor, &offset);
    memcpy(to + done, walk->row->from[tensor] + offset, length * sizeof(float));
  }
  walk->moved[0] += count;
}

static void give(walk_t *walk, const float *from, int64_t place, int64_t count) {
  for (int64_t done = 0, length, tensor, offset; done < count; done += length) {
    length = find(walk->row, place + done, count - done, &tensor, &offset);
    if (walk->streamed)
      stream(walk->row->to[tensor] + offset, from + done, length);
    else
      memcpy(walk->row->to[tensor] + offset, from + done, length * sizeof(float));
  }
  walk->moved[1] += count;
}

static void copy_in(walk_t *walk, int64_t step) {
  group_t *group = walk->group;
  for (int rank = 0; rank < group->ranks; rank++) wait_for(&walk->boards[rank].read, walk->base + step - SLOTS + 1);
  for (int owner = 0; owner < group->owners; owner++) {
    int64_t begin, count = owned_range(walk, owner, step, &begin);
    if (owner == group->rank || !count) continue;
    take(walk, slot_of(walk, group->rank, step, owner), begin, count);
    walk->moved[3] += count;
  }
  publish(&walk->boards[group->rank].written, walk->base + step + 1);
}

/* Adds up what this rank owns of a piece, from its tensors and the slots of the others. */
static void add_owned(walk_t *walk, int64_t step, float *to) {
  group_t *group = walk->group;
  int64_t begin, count = owned_range(walk, group->rank, step, &begin);
  for (int rank = 0; rank < group->ranks; rank++) wait_for(&walk->boards[rank].written, walk->base + step + 1);
  for (int64_t done = 0, length, tensor, offset; done < count; done += length) {
    float *sources[RANKS];
    length = find(walk->row, begin + done, count - done, &tensor, &offset);
    for (int rank = 0; rank < group->ranks; rank++)
      sources[rank] = rank == group->rank ? walk->row->from[tensor] + offset : slot_of(walk, rank, step, group->rank) + done;
    add_up(to + done, sources, group->ranks, length);
  }
  walk->moved[0] += count;
  walk->moved[2] += (group->ranks - 1) * count;
}

/* Gives sums that this rank owns to itself; they lie in its slot for the others. */
static void show_owned(walk_t *walk, int64_t step) {
  group_t *group = walk->group;
  int64_t begin, count = owned_range(walk, group->rank, step, &begin);
  give(walk, slot_of(walk, group->rank, step, group->rank), begin, count);
  walk->moved[2] += count, walk->moved[3] += count;
  publish(&walk->boards[group->rank].summed, walk->base + step + 1);
}

static void copy_out(walk_t *walk, int64_t step) {
  group_t *group = walk->group;
  for (int turn = 0; turn < group->owners; turn++) {
    int owner = (group->rank + turn) % group->owners; /* not all ranks from the same one at once */
    int64_t begin, count = owned_range(walk, owner, step, &begin);
    wait_for(&walk->boards[owner].summed, walk->base + step + 1);
    if (owner == group->rank || !count) continue;
    give(walk, slot_of(walk, owner, step, owner), begin, count);
    walk->moved[2] += count;
  }
  publish(&walk->boards[group->rank].read, walk->base + step + 1);
}

static int owns(const walk_t *walk) { return walk->group->rank < walk->group->owners; }

/* One host: three pieces are under way at a time, so that a rank seldom waits. */
static void sum_here(walk_t *walk) {
  for (int64_t step = 0; step < walk->steps + 2; step++) {
    if (step < walk->steps) copy_in(walk, step);
    if (step > 0 && step <= walk->steps && owns(walk)) {
      add_owned(walk, step - 1, slot_of(walk, walk->group->rank, step - 1, walk->group->rank));
      show_owned(walk, step - 1);
    }
    if (step > 1) copy_out(walk, step - 2);
  }
}

/* Several hosts, before hosts_sum: the sums of this host into `owned`. */
static void scatter(walk_t *walk) {
  group_t *group = walk->group;
  for (int64_t step = 0; step < walk->steps + 1; step++) {
    if (step < walk->steps) copy_in(walk, step);
    if (step == 0) continue;
    if (owns(walk)) add_owned(walk, step - 1, walk->owned + (step - 1) * walk->piece);
    publish(&walk->boards[group->rank].read, walk->base + step);
  }
}

/* And after it: what is in `owned` to all ranks of this host. */
static void gather(walk_t *walk) {
  group_t *group = walk->group;
  for (int64_t step = 0; step < walk->steps + 1; step++) {
    if (step < walk->steps && owns(walk)) {
      int64_t begin, count = owned_range(walk, group->rank, step, &begin);
      for (int rank = 0; rank < group->ranks; rank++) wait_for(&walk->boards[rank].read, walk->base + step - SLOTS + 1);
      memcpy(slot_of(walk, group->rank, step, group->rank), walk->owned + step * walk->piece, count * sizeof(float));
      show_owned(walk, step);
    }
    if (step > 0) copy_out(walk, step - 1);
  }
}

typedef struct {
  group_t *group;
  const row_t *row;
  int channels;
  void (*way)(walk_t *);
} round_t;

static int64_t owned_before(const group_t *group, int64_t total, int channels, int channel) {
  int64_t sum = 0;
  for (int before = 0; before < channel; before++) {
    int64_t length = cut(total, before + 1, channels) - cut(total, before, channels);
    sum += cut(length, group->rank + 1, group->owners) - cut(length, group->rank, group->owners);
  }
  return sum;
}

static void walk_channel(int channel, void *argument) {
  const round_t *round = argument;
  group_t *group = round->group;
  if (channel >= round->channels) return;
  int64_t total = round->row->starts[round->row->tensors], begin = cut(total, channel, round->channels);
  walk_t walk = {.group = group, .row = round->row, .channel = channel, .begin = begin, .streamed = total >= STREAMED};
  walk.length = cut(total, channel + 1, round->channels) - begin;
  walk.boards = group->boards + (int64_t)channel * group->ranks;
  walk.slots = group->slots + (int64_t)channel * group->ranks * SLOTS * group->piece;
  if (group->hosts && owns(&walk)) walk.owned = group->owned + owned_before(group, total, round->channels, channel);
  walk.piece = group->piece / group->owners / LINE * LINE;
  walk.base = group->pieces[channel];
  int64_t most = walk.length / group->owners + LINE; /* no part is longer */
  walk.steps = walk.length ? (most + walk.piece - 1) / walk.piece : 0;
  round->way(&walk);
  group->pieces[channel] += walk.steps;
#if defined(__x86_64__)
  _mm_sfence();
#endif
  for (int kind = 0; kind < 4; kind++) atomic_fetch_add(&group->moved[kind], walk.moved[kind] * (int64_t)sizeof(float));
}

static void walk_all(round_t round, int channels, void (*way)(walk_t *)) {
  round.channels = channels, round.way = way;
  if (channels == 1)
    walk_channel(0, &round);
  else
    pool_run(walk_channel, &round);
}

/* All ranks of a host must mean the same row; a code where they do not. */
static int begin_row(group_t *group, int64_t total) {
  board_t *own = &group->boards[group->rank];
  int64_t row = group->rows++;
  own->totals[row % 2] = total;
  publish(&own->called, row + 1);
  int code = 0;
  for (int rank = 0; rank < group->ranks; rank++) {
    wait_for(&group->boards[rank].called, row + 1);
    if (group->boards[rank].totals[row % 2] != total) code = 77;
  }
  return code;
}

static int sum_between_hosts(round_t round, int channels) {
  group_t *group = round.group;
  int code = 0, owner = group->rank < group->owners;
  int64_t count = owner ? owned_before(group, round.row->starts[round.row->tensors], channels, channels) : 0;
  int64_t room = owner ? hosts_room(group->hosts, count) : 0;
  if (room > group->room) {
    free(group->owned);
    group->owned = aligned_alloc(64, (room * sizeof(float) + 63) / 64 * 64);
    group->room = group->owned ? room : 0;
    if (!group->owned) return 75;
  }
  walk_all(round, channels, scatter);
  if (owner) code = hosts_sum(group->hosts, group->owned, count);
  walk_all(round, channels, gather);
  return code;
}

int shared_sum(int64_t number, const row_t *row, int alone) {
  if (number < 0 || number >= groups_count) return 76;
  group_t *group = &groups[number];
  int64_t total = row->starts[row->tensors];
  round_t round = {.group = group, .row = row};
  pthread_mutex_lock(&group->lock);
  int code = begin_row(group, total), channels = alone || total < FEW ? 1 : group->channels;
  if (!code && group->hosts)
    code = sum_between_hosts(round, channels);
  else if (!code)
    walk_all(round, channels, sum_here);
  pthread_mutex_unlock(&group->lock);
  return code;
}

/* Sums tensors of these many numbers; the same as the node, for those who have no graph. */
EXPORT int cellwright_shared_sum(int number, int tensors, float *const *from, float **to, const int64_t *starts) {
  row_t row = {from, to, starts, tensors};
  return shared_sum(number, &row, 0);
}

/* The node: the number of the group, then any number of tensors, then as many results. */
EXPORT int cellwright_shared_allreduce(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes,
                                       void *stream, void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 1) / 2;
  if (nparam < 3 || nparam % 2 == 0 || strcmp(dtypes[0], "int64")) return 72;
  int64_t *starts = malloc((count + 1) * sizeof *starts);
  if (!starts) return 75;
  int code = 0;
  starts[0] = 0;
  for (int64_t k = 0; k < count; k++) {
    int64_t floats = 1;
    if (strcmp(dtypes[1 + k], "float32")) code = 72;
    for (int axis = 0; axis < ndims[1 + k]; axis++) floats *= shapes[1 + k][axis];
    starts[k + 1] = starts[k] + floats;
  }
  if (!code) {
    row_t row = {(float **)params + 1, (float **)params + 1 + count, starts, count};
    int64_t begin = clock_begin();
    if (atomic_load(&silent))
      for (int64_t k = 0; k < count; k++) memcpy(row.to[k], row.from[k], (starts[k + 1] - starts[k]) * sizeof(float));
    else
      code = shared_sum(*(int64_t *)params[0], &row, 0);
    clock_end_node(begin, CLOCK_ALLREDUCE, starts[count]);
  }
  free(starts);
  return code;
}
