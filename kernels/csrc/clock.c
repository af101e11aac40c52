#include "clock.h"

#include <stdlib.h>
#include <string.h>

#include "export.h"

atomic_int clock_on;
static clock_event_t *events;
static int64_t capacity;
static atomic_llong count;

void clock_note(int64_t begin, int64_t what, int64_t size, int stage, int list, int index, int thread) {
  int64_t place = atomic_fetch_add(&count, 1);
  if (place < capacity) events[place] = (clock_event_t){begin, clock_now(), what, size, stage, list, index, thread};
}

/* Switches the clock on, with room for so many events, or off (0). Not while a node runs. Returns 0, or 75 without
 * memory. */
EXPORT int cellwright_clock(int64_t events_wanted) {
  atomic_store(&clock_on, 0);
  free(events);
  events = events_wanted ? malloc(events_wanted * sizeof *events) : 0;
  capacity = events ? events_wanted : 0;
  atomic_store(&count, 0);
  atomic_store(&clock_on, events != 0);
  return events_wanted && !events ? 75 : 0;
}

/* Copies the events since the last call, and forgets them. Not while a node runs. Returns how many there were: those
 * above `room` or above the clock's own room are lost. */
EXPORT int64_t cellwright_clock_take(clock_event_t *target, int64_t room) {
  int64_t all = atomic_exchange(&count, 0), kept = all < capacity ? all : capacity;
  if (kept > room) kept = room;
  if (kept > 0) memcpy(target, events, kept * sizeof *events);
  return all;
}
