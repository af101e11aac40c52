/* The programs that there are: built from Python, found by the nodes that run them, freed with their last user. */
#ifndef CELLWRIGHT_PROGRAM_STORE_H
#define CELLWRIGHT_PROGRAM_STORE_H

#include <stdatomic.h>

#include "program.h"

#define ALIGN 64 /* bytes */
#define PHASES 3 /* jobs before the chunks: statistics, then what needs them; after the chunks: weight gradients */
#define SHARES PHASES

typedef struct {
  op_t *items;
  int64_t count;
} list_t;

typedef struct {
  int64_t capacity;
  list_t operations, jobs[PHASES];
  atomic_int next[PHASES + 1], done[PHASES + 1]; /* of each list of jobs, and of the shares */
} stage_t;

#define SHAPE (4 * MOST_INPUTS) /* numbers: (N, C, H, W) of each input, then zeros */

typedef struct program {
  int64_t key, shape[SHAPE], saved_index, work_index, threads, work, scratch, tensors, stages_count;
  const operation_t *operations;
  int64_t *sizes; /* floats of each tensor of the node; the key has 0 */
  float *kept;
  int64_t kept_floats;
  stage_t *stages;
  int64_t users; /* nodes that run it, and one for being found by others */
  struct program *next;
} program_t;

/* The program of a key and of its inputs' shapes, with one more user; 0 if there is none. */
program_t *program_find(int64_t key, const int64_t *shape);
/* A user of the program is done; nobody else has it if it was taken from the list, too. */
void program_leave(program_t *program);
/* Gives a buffer so many floats, aligned; what it held is lost. */
int buffer_grow(float **buffer, int64_t floats);

#endif
