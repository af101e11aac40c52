/* A fixed team of threads that runs one graph node at a time. */
#ifndef CELLWRIGHT_POOL_H
#define CELLWRIGHT_POOL_H

#include <stdatomic.h>

#define MAX_THREADS 64

typedef void (*work_t)(int thread, void *argument);

int pool_threads(void);
/* Starts the threads if they are not there yet; returns their number, 1 if the caller has to do the work. */
int pool_start(void);
/* Calls work(t, argument) for t in [0, pool_threads()) on the team's threads and returns when all are done. Callers queue. */
void pool_run(work_t work, void *argument);
/* Returns when every thread of the team has called it. */
void pool_barrier(void);

#endif
