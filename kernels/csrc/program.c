/* A program is one direction of a network for one input shape: stages that a team of threads goes through together.
 *
 * In a stage every thread takes its share of the batch chunk by chunk, all operations of the stage on one chunk before the next:
 * what one writes, the next finds in the cache. Stages end where a batch statistic is needed. A program keeps nothing between
 * runs: what the backward node needs is in the tape, a tensor that the forward node returns.
 */
#include "program.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "pool.h"

#define EXPORT __attribute__((visibility("default")))
#define ALIGN 16 /* floats */
#define PHASES 3 /* jobs before the chunks: statistics, then what needs them; after the chunks: weight gradients */

typedef struct {
  op_t *items;
  int64_t count;
} list_t;

typedef struct {
  int64_t capacity;
  list_t operations, jobs[PHASES];
  atomic_int next[PHASES];
} stage_t;

typedef struct program {
  int64_t key, shape[4], tape_index, lanes, work, scratch, tensors, sizes_count, stages_count;
  int64_t *sizes; /* floats of each tensor of the node; the key has 0 */
  stage_t *stages;
  struct program *first; /* of the nodes that one direction is cut into; they go on in a memory of their own */
  float *own_work;       /* of the first one */
  struct program *next;
} program_t;

typedef struct {
  program_t *program;
  void **params;
  float *tape, *work;
  atomic_int code;
} run_t;

typedef int (*builder_t)(int64_t key, int64_t n, int64_t c, int64_t h, int64_t w);

static program_t *programs;
static builder_t builder;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER, running = PTHREAD_MUTEX_INITIALIZER;
static float *work, *scratches[MAX_THREADS];
static int64_t work_floats, scratch_floats;

static void run_jobs(run_t *run, int number, int phase, context_t *context) {
  stage_t *stage = &run->program->stages[number];
  for (;;) {
    int k = atomic_fetch_add(&stage->next[phase], 1);
    if (k >= stage->jobs[phase].count || atomic_load(&run->code)) return;
    int64_t begin = clock_begin();
    int code = run_job(&stage->jobs[phase].items[k], context, (int)run->program->lanes);
    clock_end(begin, (intptr_t)run->program, 1, number, phase + 1, k, context->thread);
    if (code) atomic_store(&run->code, code);
  }
}

static void run_chunks(run_t *run, int number, context_t *context) {
  stage_t *stage = &run->program->stages[number];
  const operation_t *operations = run->program->lanes == 16 ? operations16 : operations8;
  int64_t end = share(context, context->thread + 1);
  context->capacity = stage->capacity;
  for (context->n0 = context->first; context->n0 < end; context->n0 += context->n) {
    context->n = end - context->n0 < stage->capacity ? end - context->n0 : stage->capacity;
    for (int64_t k = 0; k < stage->operations.count; k++) {
      op_t *op = &stage->operations.items[k];
      if (atomic_load(&run->code)) return;
      int64_t begin = clock_begin();
      int code = operations[op->kind](op, context);
      clock_end(begin, (intptr_t)run->program, context->n, number, 0, (int)k, context->thread);
      if (code) atomic_store(&run->code, code);
    }
  }
}

static void run_share(int thread, void *argument) {
  run_t *run = argument;
  program_t *program = run->program;
  context_t context = {.params = run->params, .tape = run->tape, .work = run->work, .scratch = scratches[thread]};
  context.images = program->shape[0];
  context.thread = thread;
  context.threads = pool_threads() < context.images ? pool_threads() : (int)context.images;
  for (int64_t s = 0; s < program->stages_count; s++) {
    stage_t *stage = &program->stages[s];
    for (int phase = 0; phase < 2; phase++) {
      context.n0 = 0;
      run_jobs(run, (int)s, phase, &context);
      if (stage->jobs[phase].count) pool_barrier();
    }
    if (thread < context.threads) {
      context.first = share(&context, thread);
      run_chunks(run, (int)s, &context);
    }
    pool_barrier();
    context.n0 = 0;
    run_jobs(run, (int)s, 2, &context);
    if (stage->jobs[2].count) pool_barrier();
  }
}

static int grow(float **buffer, int64_t floats) {
  free(*buffer);
  *buffer = aligned_alloc(64, ((size_t)floats * sizeof(float) + 63) / 64 * 64 + 64);
  return *buffer ? 0 : 75;
}

static int make_room(const program_t *program) {
  if (program->first) {
    if (!program->first->own_work && grow(&program->first->own_work, program->work)) return 75;
  } else if (program->work > work_floats) {
    work_floats = 0;
    if (grow(&work, program->work)) return 75;
    work_floats = program->work;
  }
  if (program->scratch > scratch_floats) {
    scratch_floats = 0;
    for (int thread = 0; thread < pool_threads(); thread++)
      if (grow(&scratches[thread], program->scratch)) return 75;
    scratch_floats = program->scratch;
  }
  return 0;
}

static program_t *find(int64_t key, const int64_t *shape) {
  pthread_mutex_lock(&lock);
  program_t *found = programs;
  while (found && (found->key != key || memcmp(found->shape, shape, sizeof found->shape))) found = found->next;
  pthread_mutex_unlock(&lock);
  return found;
}

/* The node. Its first tensor holds the program's key, the second is the network's input, whose shape selects the program. */
EXPORT int cellwright_program(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                              void *extra) {
  (void)stream, (void)extra;
  if (nparam < 3 || ndims[1] != 4 || strcmp(dtypes[0], "int64")) return 72;
  int64_t key = *(int64_t *)params[0];
  program_t *program = find(key, shapes[1]);
  if (!program && builder && !builder(key, shapes[1][0], shapes[1][1], shapes[1][2], shapes[1][3]))
    program = find(key, shapes[1]);
  if (!program) return 73;
  if (program->tensors != nparam) return 72;
  for (int k = 1; k < nparam; k++) {
    int64_t floats = 1;
    for (int axis = 0; axis < ndims[k]; axis++) floats *= shapes[k][axis];
    if (floats != program->sizes[k] || strcmp(dtypes[k], "float32")) return 72;
  }
  run_t run = {.program = program, .params = params};
  if (program->tape_index >= 0)
    run.tape = (float *)(((uintptr_t)params[program->tape_index] + 4 * ALIGN - 1) / (4 * ALIGN) * (4 * ALIGN));
  pthread_mutex_lock(&running);
  int code = make_room(program);
  for (int64_t s = 0; s < program->stages_count; s++)
    for (int phase = 0; phase < PHASES; phase++) atomic_store(&program->stages[s].next[phase], 0);
  run.work = program->first ? program->first->own_work : work;
  if (!code) {
    int64_t begin = clock_begin();
    pool_run(run_share, &run);
    clock_end_node(begin, (intptr_t)program, program->shape[0]);
    code = atomic_load(&run.code);
  }
  pthread_mutex_unlock(&running);
  return code;
}

/* Building, from Python, one program at a time; a program is found by nodes once it is published. */
EXPORT void cellwright_builder(builder_t function) { builder = function; }

/* first: the first of several programs that are one direction cut in pieces, where there is one. */
EXPORT program_t *cellwright_program_new(int64_t key, const int64_t *shape, int64_t lanes, int64_t tape_index, int64_t tensors,
                                         const int64_t *sizes, program_t *first) {
  program_t *program = calloc(1, sizeof *program);
  if (!program) return 0;
  program->key = key, program->lanes = lanes, program->tape_index = tape_index, program->tensors = tensors;
  memcpy(program->shape, shape, sizeof program->shape);
  program->first = first;
  if (first) first->first = first;
  program->sizes = malloc(tensors * sizeof *sizes);
  if (program->sizes) memcpy(program->sizes, sizes, tensors * sizeof *sizes);
  return program;
}

static int copy_list(list_t *list, const op_t *items, int64_t count) {
  list->items = malloc((count ? count : 1) * sizeof *items);
  if (!list->items) return 75;
  memcpy(list->items, items, count * sizeof *items);
  list->count = count;
  return 0;
}

EXPORT int cellwright_program_stage(program_t *program, int64_t capacity, const op_t *operations, int64_t count,
                                    const op_t *const *jobs, const int64_t *job_counts) {
  stage_t *grown = realloc(program->stages, (program->stages_count + 1) * sizeof *grown);
  if (!grown) return 75;
  program->stages = grown;
  stage_t *stage = &grown[program->stages_count];
  memset(stage, 0, sizeof *stage);
  stage->capacity = capacity;
  int code = copy_list(&stage->operations, operations, count);
  for (int phase = 0; phase < PHASES; phase++) code |= copy_list(&stage->jobs[phase], jobs[phase], job_counts[phase]);
  program->stages_count++;
  return code;
}

EXPORT void cellwright_program_publish(program_t *program, int64_t work_size, int64_t scratch_size) {
  program->work = work_size, program->scratch = scratch_size;
  pthread_mutex_lock(&lock);
  program->next = programs;
  programs = program;
  pthread_mutex_unlock(&lock);
}
