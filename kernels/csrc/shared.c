/* Allreduce between the processes of one host through memory that they share.
 *
 * The tensors are taken as one row of numbers and go piece by piece through a ring of slots that fits the last-level cache: each
 * rank copies its piece into a slot of its own, waits for the others' pieces, and adds all of them up, in the order of the ranks,
 * into its result. So main memory sees each tensor once read and once written, and all ranks get the same bits.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

#define EXPORT __attribute__((visibility("default")))
#if defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx2", "default")))
#else
#define WIDE
#endif
#define PIECE (64 * 1024) /* floats: 256 KiB */
#define SLOTS 4
#define RANKS 64
#define GROUPS 64
#define SPINS 4000

typedef struct {
  _Atomic int64_t written, read;
  int64_t totals[SLOTS]; /* floats of the call, for the check that all ranks mean the same tensors; of each slot its own, as
                            a rank may be in its next call before another one has looked */
  char padding[112 - 8 * SLOTS];
} board_t;

typedef struct {
  board_t *boards;
  float *slots; /* [rank][slot][PIECE] */
  int rank, ranks;
  int64_t pieces; /* since the beginning */
  pthread_mutex_t lock;
} group_t;

static group_t groups[GROUPS];
static int groups_count;
static atomic_int silent;

/* While it is 1 the node's results are its own tensors, and no other rank is heard of: what a step costs without the allreduce. */
EXPORT void cellwright_shared_silence(int on) { atomic_store(&silent, on); }

/* Bytes of the memory that `ranks` processes share. */
EXPORT int64_t cellwright_shared_bytes(int ranks) {
  return (int64_t)ranks * (sizeof(board_t) + sizeof(float) * SLOTS * PIECE);
}

/* Joins a group through its shared memory, zero at first; returns its number, or -1. */
EXPORT int cellwright_shared_join(void *memory, int rank, int ranks) {
  if (groups_count == GROUPS || ranks > RANKS) return -1;
  group_t *group = &groups[groups_count];
  group->boards = memory;
  group->slots = (float *)((char *)memory + ranks * sizeof(board_t));
  group->rank = rank, group->ranks = ranks, group->pieces = 0;
  pthread_mutex_init(&group->lock, 0);
  return groups_count++;
}

static void wait_for(_Atomic int64_t *counter, int64_t value) {
  for (int spin = 0; atomic_load_explicit(counter, memory_order_acquire) < value; spin++) {
    if (spin < SPINS) {
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
    } else {
      sched_yield();
    }
  }
}

typedef struct {
  void **tensors;
  const int64_t *floats;
  int64_t tensor, offset;
} cursor_t;

/* Calls for the parts of tensors that make up the next `count` numbers. */
static int64_t next_part(cursor_t *cursor, int64_t count, float **part) {
  while (cursor->offset == cursor->floats[cursor->tensor]) cursor->tensor++, cursor->offset = 0;
  int64_t left = cursor->floats[cursor->tensor] - cursor->offset, length = left < count ? left : count;
  *part = (float *)cursor->tensors[cursor->tensor] + cursor->offset;
  cursor->offset += length;
  return length;
}

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

static int reduce(group_t *group, cursor_t from, cursor_t to, int64_t total) {
  board_t *own = &group->boards[group->rank];
  for (int64_t start = 0; start < total; start += PIECE) {
    int64_t count = total - start < PIECE ? total - start : PIECE, piece = group->pieces++, slot = piece % SLOTS;
    float *sources[RANKS], *part;
    for (int rank = 0; rank < group->ranks; rank++) {
      wait_for(&group->boards[rank].read, piece - SLOTS + 1);
      sources[rank] = group->slots + ((int64_t)rank * SLOTS + slot) * PIECE;
    }
    for (int64_t done = 0, length; done < count; done += length) {
      length = next_part(&from, count - done, &part);
      memcpy(sources[group->rank] + done, part, length * sizeof(float));
    }
    own->totals[slot] = total;
    atomic_store_explicit(&own->written, piece + 1, memory_order_release);
    for (int rank = 0; rank < group->ranks; rank++) {
      wait_for(&group->boards[rank].written, piece + 1);
      if (group->boards[rank].totals[slot] != total) return 77;
    }
    for (int64_t done = 0, length; done < count; done += length) {
      float *shifted[RANKS];
      length = next_part(&to, count - done, &part);
      for (int rank = 0; rank < group->ranks; rank++) shifted[rank] = sources[rank] + done;
      add_up(part, shifted, group->ranks, length);
    }
    atomic_store_explicit(&own->read, piece + 1, memory_order_release);
  }
  return 0;
}

/* The node: the number of the group, then any number of tensors, then as many results. */
EXPORT int cellwright_shared_allreduce(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes,
                                       void *stream, void *extra) {
  (void)stream, (void)extra;
  int64_t count = (nparam - 1) / 2, total = 0;
  if (nparam < 3 || nparam % 2 == 0 || strcmp(dtypes[0], "int64")) return 72;
  int64_t number = *(int64_t *)params[0];
  if (number < 0 || number >= groups_count) return 76;
  int64_t *floats = malloc(count * sizeof *floats);
  if (!floats) return 75;
  int code = 0;
  for (int64_t k = 0; k < count; k++) {
    if (strcmp(dtypes[1 + k], "float32")) code = 72;
    floats[k] = 1;
    for (int axis = 0; axis < ndims[1 + k]; axis++) floats[k] *= shapes[1 + k][axis];
    total += floats[k];
  }
  if (!code) {
    cursor_t from = {params + 1, floats, 0, 0}, to = {params + 1 + count, floats, 0, 0};
    pthread_mutex_lock(&groups[number].lock);
    int64_t begin = clock_begin();
    if (atomic_load(&silent))
      for (int64_t k = 0; k < count; k++) memcpy(params[1 + count + k], params[1 + k], floats[k] * sizeof(float));
    else
      code = reduce(&groups[number], from, to, total);
    clock_end_node(begin, CLOCK_ALLREDUCE, total);
    pthread_mutex_unlock(&groups[number].lock);
  }
  free(floats);
  return code;
}
