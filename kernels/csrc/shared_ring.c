/* One thread's way through its stretch of the row.
 *
 * Each rank of a host owns a part of it: a rank copies what others own into slots of its own, adds up what it owns from its tensors
 * and the others' slots, in the order of the ranks, puts the sums into its slot, and copies the others' sums out of theirs.
 * The board of a rank says how many pieces it has written, summed and read.
 *
 * Where each rank makes a part of a row, as the optimizer does, that goes through the same slots: made of the sums, which then nobody
 * else gets (sum_here), or of what is there already (hand_out).
 */
#include "shared_ring.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#include "target_clones.h"

#define SPINS 4000
#define YIELDS 200
#define STREAMED (4 << 20) /* from so many numbers on the results would not stay in the cache */

void wait_for(_Atomic int64_t *counter, int64_t value) {
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

void publish(_Atomic int64_t *counter, int64_t value) { atomic_store_explicit(counter, value, memory_order_release); }
TARGET_CLONES("avx2")
static void add_up(float *restrict result, float *const *sources, int ranks, int64_t count) {
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
int64_t cut(int64_t length, int64_t part, int64_t parts) {
  return part == parts ? length : length * part / parts / LINE * LINE;
}

/* What an owner has of piece `step`: where in the row, and how much, perhaps nothing. Of each thread's stretch a part, or where a row is
 * made, of its own part each thread a stretch. */
static int64_t owned_range(const walk_t *walk, int owner, int64_t step, int64_t *begin) {
  int64_t base = walk->begin, length = walk->length, part = owner, parts = walk->owners;
  if (walk->channels) {
    base = cut(length, owner, parts), length = cut(length, owner + 1, parts) - base;
    part = walk->channel, parts = walk->channels;
  }
  int64_t first = cut(length, part, parts) + step * walk->piece, end = cut(length, part + 1, parts);
  *begin = base + first;
  return end - first < 0 ? 0 : end - first < walk->piece ? end - first : walk->piece;
}

static float *slot_of(const walk_t *walk, int rank, int64_t step, int owner) {
  int64_t slot = (walk->base + step) % SLOTS;
  return walk->slots + ((int64_t)rank * SLOTS + slot) * walk->ring->piece + owner * walk->apart;
}
walk_t walk_begin(const ring_t *ring, const row_t *row, int channel, int64_t base, int64_t begin, int64_t length) {
  walk_t walk = {.ring = ring, .row = row, .base = base, .begin = begin, .length = length, .owners = ring->owners};
  walk.boards = ring->boards + (int64_t)channel * ring->ranks;
  walk.slots = ring->slots + (int64_t)channel * ring->ranks * SLOTS * ring->piece;
  walk.piece = walk.apart = ring->piece / ring->owners / LINE * LINE;
  walk.streamed = row->starts[row->tensors] >= STREAMED;
  int64_t most = length / ring->owners + LINE; /* no part is longer */
  walk.steps = length ? (most + walk.piece - 1) / walk.piece : 0;
  return walk;
}

static void give(walk_t *walk, const float *from, int64_t place, int64_t count) {
  row_give(walk->row, from, place, count, walk->streamed);
  walk->moved[1] += count;
}

static void wait_for_room(const walk_t *walk, int64_t step) {
  for (int rank = 0; rank < walk->ring->ranks; rank++) wait_for(&walk->boards[rank].read, walk->base + step - SLOTS + 1);
}

static void copy_in(walk_t *walk, int64_t step) {
  const ring_t *ring = walk->ring;
  wait_for_room(walk, step);
  for (int owner = 0; owner < walk->owners; owner++) {
    int64_t begin, count = owned_range(walk, owner, step, &begin);
    if (owner == ring->rank || !count) continue;
    row_take(walk->row, slot_of(walk, ring->rank, step, owner), begin, count);
    walk->moved[0] += count, walk->moved[3] += count;
  }
  publish(&walk->boards[ring->rank].written, walk->base + step + 1);
}

/* Adds up what this rank owns of a piece, from its tensors and the slots of the others. */
static void add_owned(walk_t *walk, int64_t step, float *to) {
  const ring_t *ring = walk->ring;
  int64_t begin, count = owned_range(walk, ring->rank, step, &begin);
  for (int rank = 0; rank < ring->ranks; rank++) wait_for(&walk->boards[rank].written, walk->base + step + 1);
  for (int64_t done = 0, length, tensor, offset; done < count; done += length) {
    float *sources[RANKS], *own, made[AT_ONCE];
    length = row_find(walk->row, begin + done, count - done, &tensor, &offset);
    own = walk->row->from[tensor] + offset;
    if (row_factored(walk->row, tensor)) {
      length = length < AT_ONCE ? length : AT_ONCE;
      row_take(walk->row, own = made, begin + done, length);
    }
    for (int rank = 0; rank < ring->ranks; rank++)
      sources[rank] = rank == ring->rank ? own : slot_of(walk, rank, step, ring->rank) + done;
    add_up(to + done, sources, ring->ranks, length);
  }
  walk->moved[0] += count;
  walk->moved[2] += (ring->ranks - 1) * count;
}

/* Gives what this rank owns to itself, or makes it; it lies in its slot for the others. */
static void show_owned(walk_t *walk, int64_t step) {
  const ring_t *ring = walk->ring;
  int64_t begin, count = owned_range(walk, ring->rank, step, &begin);
  float *slot = slot_of(walk, ring->rank, step, ring->rank);
  if (walk->make)
    walk->make(walk->argument, begin, count, slot);
  else
    give(walk, slot, begin, count);
  walk->moved[walk->apart ? 2 : 0] += count;
  walk->moved[3] += walk->make && walk->apart ? 2 * count : count; /* sums, and then what was made of them */
  publish(&walk->boards[ring->rank].summed, walk->base + step + 1);
}

static void copy_out(walk_t *walk, int64_t step) {
  const ring_t *ring = walk->ring;
  for (int turn = 0; turn < walk->owners; turn++) {
    int owner = (ring->rank + turn) % walk->owners; /* not all ranks from the same one at once */
    int64_t begin, count = owned_range(walk, owner, step, &begin);
    wait_for(&walk->boards[owner].summed, walk->base + step + 1);
    if (owner == ring->rank || !count) continue;
    give(walk, slot_of(walk, owner, step, owner), begin, count);
    walk->moved[2] += count;
  }
  publish(&walk->boards[ring->rank].read, walk->base + step + 1);
}

static int owns(const walk_t *walk) { return walk->ring->rank < walk->owners; }

/* One host: three pieces are under way at a time, so that a rank seldom waits. */
void sum_here(walk_t *walk) {
  for (int64_t step = 0; step < walk->steps + 2; step++) {
    if (step < walk->steps) copy_in(walk, step);
    if (step > 0 && step <= walk->steps && owns(walk)) {
      add_owned(walk, step - 1, slot_of(walk, walk->ring->rank, step - 1, walk->ring->rank));
      show_owned(walk, step - 1);
    }
    if (step > 1) copy_out(walk, step - 2);
  }
}

void scatter(walk_t *walk) {
  const ring_t *ring = walk->ring;
  for (int64_t step = 0; step < walk->steps + 1; step++) {
    if (step < walk->steps) copy_in(walk, step);
    if (step == 0) continue;
    if (owns(walk)) add_owned(walk, step - 1, walk->owned + (step - 1) * walk->piece);
    publish(&walk->boards[ring->rank].read, walk->base + step);
  }
}

void gather(walk_t *walk) {
  const ring_t *ring = walk->ring;
  for (int64_t step = 0; step < walk->steps + 1; step++) {
    if (step < walk->steps && owns(walk)) {
      int64_t begin, count = owned_range(walk, ring->rank, step, &begin);
      wait_for_room(walk, step);
      memcpy(slot_of(walk, ring->rank, step, ring->rank), walk->owned + step * walk->piece, count * sizeof(float));
      show_owned(walk, step);
    }
    if (step > 0) copy_out(walk, step - 1);
  }
}

walk_t making_begin(const ring_t *ring, const row_t *row, int channel, int channels, int64_t base, int of_sums) {
  walk_t walk = walk_begin(ring, row, channel, base, 0, row->starts[row->tensors]);
  if (!of_sums) walk.piece = ring->piece, walk.apart = 0;
  walk.owners = ring->ranks, walk.channel = channel, walk.channels = channels, walk.steps = 0;
  for (int rank = 0; rank < ring->ranks; rank++)
    for (int64_t begin; owned_range(&walk, rank, walk.steps, &begin);) walk.steps++;
  return walk;
}

void hand_out(walk_t *walk) {
  for (int64_t step = 0; step < walk->steps + 2; step++) {
    if (step < walk->steps) {
      wait_for_room(walk, step);
      show_owned(walk, step);
    }
    if (step > 1) copy_out(walk, step - 2);
  }
}
