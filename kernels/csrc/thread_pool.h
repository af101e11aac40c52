/* A team of threads that runs one graph node at a time; the thread that calls is one of them. */
#ifndef CELLWRIGHT_POOL_H
#define CELLWRIGHT_POOL_H

#include <stdatomic.h>

#define MAX_THREADS 64

typedef void (*work_t)(int number, void *argument);

/* The threads that work is cut for; fixed with the first call of pool_run. */
int pool_threads(void);
/* Calls work(k, argument) for k in [0, pool_threads()), each once, and returns when all are done. Callers queue.
 *
 * The caller begins at once, and a thread that has woken up takes the next number: where other threads keep the cores, or none
 * could be started, the caller does it all. So no call may wait for one that has not begun. */
void pool_run(work_t work, void *argument);
/* Returns when *done has reached `count`. */
void pool_wait(atomic_int *done, int count);

#endif
