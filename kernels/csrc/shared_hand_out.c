/* What each rank of a host makes of a row, or of the sums of one, handed out to the others through shared_ring.c. */
#include "export.h"
#include "float_mode.h"
#include "operations.h"
#include "shared_group.h"
#include "thread_pool.h"

int shared_part(int64_t number, int64_t total, int64_t *begin, int64_t *end) {
  const group_t *group = group_of(number);
  if (!group) return ERROR_UNKNOWN_GROUP;
  const ring_t *ring = &group->ring;
  *begin = cut(total, ring->rank, ring->ranks), *end = cut(total, ring->rank + 1, ring->ranks);
  return 0;
}

/* The same for those who have no graph: where the part begins, and where it ends. */
EXPORT int cellwright_shared_part(int number, int64_t total, int64_t *range) {
  return shared_part(number, total, range, range + 1);
}

typedef struct {
  group_t *group;
  const row_t *row;
  int channels, of_sums;
  make_t *make;
  void *argument;
} making_t;

static void make_channel(int channel, void *argument) {
  const making_t *making = argument;
  group_t *group = making->group;
  if (channel >= making->channels) return;
  int64_t base = group->pieces[channel];
  walk_t walk = making_begin(&group->ring, making->row, channel, making->channels, base, making->of_sums);
  walk.make = making->make, walk.argument = making->argument;
  (making->of_sums ? sum_here : hand_out)(&walk);
  group_end_walk(group, channel, &walk);
}

int shared_hand_out(int64_t number, const row_t *row, int of_sums, make_t *make, void *argument) {
  int64_t total = row->starts[row->tensors], begin, end;
  if (shared_part(number, total, &begin, &end)) return ERROR_UNKNOWN_GROUP;
  group_t *group = group_of(number);
  if (of_sums && group->hosts) return ERROR_WRONG_TENSORS; /* there are more ranks than these */
  if (atomic_load(&shared_silent)) {
    make(argument, begin, end - begin, 0);
    return 0;
  }
  pthread_mutex_lock(&group->lock);
  unsigned before = float_mode_begin();
  making_t making = {group, row, total < FEW ? 1 : group->channels, of_sums, make, argument};
  int code = group_begin_row(group, total);
  if (!code && making.channels == 1)
    make_channel(0, &making);
  else if (!code)
    pool_run(make_channel, &making);
  float_mode_end(before);
  pthread_mutex_unlock(&group->lock);
  return code;
}
