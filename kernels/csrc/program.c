/* A program is one direction of a network for one input shape: stages that a team of threads goes through together.
 *
 * The batch is cut into as many shares as the team has threads. In a stage a share is done chunk by chunk, all operations of the
 * stage on one chunk before the next: what one writes, the next finds in the cache. Stages end where a batch statistic is needed.
 * What the backward node needs is in a tensor that the forward node returns. Between runs only the program of an evaluation keeps
 * something: the weights as convolutions want them, until they change.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "export.h"
#include "onednn.h"
#include "program_store.h"
#include "thread_pool.h"

typedef struct {
  program_t *program;
  void **params;
  float *tape, *work;
  uint32_t turn;
  atomic_int code;
} run_t;

typedef int (*builder_t)(int64_t key, const int64_t *shape);
typedef void (*reporter_t)(int code);

static builder_t builder;
static reporter_t reporter;
static pthread_mutex_t running = PTHREAD_MUTEX_INITIALIZER;
static float *work, *scratches[MAX_THREADS];
static int64_t work_floats, scratch_floats;
static uint32_t turns;

/* Numbers that tell a library built from another table: 0 its digest, 1 and 2 the bytes of its structures. */
EXPORT int64_t cellwright_table(int what) {
  return what == 0 ? TABLE_DIGEST : what == 1 ? (int64_t)sizeof(op_t) : (int64_t)sizeof(convolution_t);
}

/* The job and those that continue it; returns how many. */
static int run_chain(run_t *run, int number, int phase, int first, context_t *context) {
  const list_t *jobs = &run->program->stages[number].jobs[phase];
  int k = first, done = 0;
  do {
    if (done || atomic_load(&run->code)) continue;
    int64_t begin = clock_begin();
    int code = run_job(&jobs->items[k], context, run->program->operations);
    clock_end(begin, (intptr_t)run->program, 1, number, phase + 1, k, context->runner);
    if (code == CHAIN_DONE)
      done = 1;
    else if (code)
      atomic_store(&run->code, code);
  } while (++k < jobs->count && jobs->items[k].continues);
  return k - first;
}

static void run_jobs(run_t *run, int number, int phase, context_t *context) {
  stage_t *stage = &run->program->stages[number];
  const list_t *jobs = &stage->jobs[phase];
  context->n0 = 0, context->part = 0;
  for (int k; (k = atomic_fetch_add(&stage->next[phase], 1)) < jobs->count;)
    if (!jobs->items[k].continues) atomic_fetch_add(&stage->done[phase], run_chain(run, number, phase, k, context));
  pool_wait(&stage->done[phase], (int)jobs->count);
}

static void run_chunks(run_t *run, int number, context_t *context) {
  stage_t *stage = &run->program->stages[number];
  const operation_t *operations = run->program->operations;
  int64_t end = share(context, context->part + 1);
  context->first = share(context, context->part);
  for (context->n0 = context->first; context->n0 < end; context->n0 += context->n) {
    context->n = end - context->n0 < stage->capacity ? end - context->n0 : stage->capacity;
    for (int64_t k = 0; k < stage->operations.count; k++) {
      op_t *op = &stage->operations.items[k];
      if (atomic_load(&run->code)) return;
      int64_t begin = clock_begin();
      int code = operations[op->kind](op, context);
      clock_end(begin, (intptr_t)run->program, context->n, number, 0, (int)k, context->runner);
      if (code) atomic_store(&run->code, code);
    }
  }
}

static void run_shares(run_t *run, int number, context_t *context) {
  stage_t *stage = &run->program->stages[number];
  context->capacity = stage->capacity;
  for (int part; (part = atomic_fetch_add(&stage->next[SHARES], 1)) < context->threads;) {
    context->part = part;
    run_chunks(run, number, context);
    atomic_fetch_add(&stage->done[SHARES], 1);
  }
  pool_wait(&stage->done[SHARES], context->threads);
}

/* Shares of the batch and jobs go to whoever is free: which thread does them changes no bits. */
static void run_stages(int runner, void *argument) {
  run_t *run = argument;
  program_t *program = run->program;
  context_t context = {.params = run->params, .sizes = program->sizes, .tape = run->tape, .work = run->work};
  context.kept = program->kept, context.scratch = scratches[runner];
  context.images = program->shape[0], context.runner = runner, context.turn = run->turn;
  context.threads = (int)(program->threads < context.images ? program->threads : context.images);
  int before = onednn_begin();
  for (int s = 0; s < (int)program->stages_count; s++) {
    run_jobs(run, s, 0, &context);
    run_jobs(run, s, 1, &context);
    run_shares(run, s, &context);
    run_jobs(run, s, 2, &context);
  }
  onednn_end(before);
}

static int make_room(const program_t *program) {
  if (program->work_index < 0 && program->work > work_floats) {
    work_floats = 0;
    if (buffer_grow(&work, program->work)) return ERROR_NO_MEMORY;
    work_floats = program->work;
  }
  if (program->scratch > scratch_floats) {
    scratch_floats = 0;
    for (int thread = 0; thread < pool_threads(); thread++)
      if (buffer_grow(&scratches[thread], program->scratch)) return ERROR_NO_MEMORY;
    scratch_floats = program->scratch;
  }
  return 0;
}

static float *aligned(void *tensor) { return (float *)(((uintptr_t)tensor + ALIGN - 1) / ALIGN * ALIGN); }

static int check_tensors(const program_t *program, int nparam, int *ndims, int64_t **shapes, const char **dtypes) {
  if (program->tensors != nparam) return ERROR_WRONG_TENSORS;
  for (int k = 1; k < nparam; k++) {
    int64_t floats = 1;
    for (int axis = 0; axis < ndims[k]; axis++) floats *= shapes[k][axis];
    int64_t wanted = program->sizes[k];
    if (floats != llabs(wanted) || strcmp(dtypes[k], wanted < 0 ? "int32" : "float32")) return ERROR_WRONG_TENSORS;
  }
  return 0;
}

static int run_program(program_t *program, void **params) {
  run_t run = {.program = program, .params = params};
  if (program->saved_index >= 0) run.tape = aligned(params[program->saved_index]);
  pthread_mutex_lock(&running);
  run.turn = ++turns;
  int code = pool_threads() == program->threads ? make_room(program) : ERROR_OTHER_THREADS;
  run.work = program->work_index >= 0 ? aligned(params[program->work_index]) : work;
  for (int64_t s = 0; s < program->stages_count; s++)
    for (int phase = 0; phase <= PHASES; phase++) {
      atomic_store(&program->stages[s].next[phase], 0);
      atomic_store(&program->stages[s].done[phase], 0);
    }
  if (!code) {
    int64_t begin = clock_begin();
    pool_run(run_stages, &run);
    clock_end_node(begin, (intptr_t)program, program->shape[0]);
    code = atomic_load(&run.code);
    if (code && program->kept) memset(program->kept, 0, program->kept_floats * sizeof(float));
  }
  pthread_mutex_unlock(&running);
  return code;
}

static int find_and_run(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes) {
  if (nparam < 3 || ndims[0] != 1 || strcmp(dtypes[0], "int64")) return ERROR_WRONG_TENSORS;
  int64_t key = *(int64_t *)params[0], inputs = shapes[0][0], shape[SHAPE] = {0};
  if (inputs < 1 || inputs > MOST_INPUTS || inputs > nparam - 2) return ERROR_WRONG_TENSORS;
  for (int64_t k = 0; k < inputs; k++) {
    if (ndims[k + 1] != 4) return ERROR_WRONG_TENSORS;
    memcpy(shape + 4 * k, shapes[k + 1], 4 * sizeof *shape);
  }
  program_t *program = program_find(key, shape);
  if (!program && builder && !builder(key, shape)) program = program_find(key, shape);
  if (!program) return ERROR_NO_PROGRAM;
  int code = check_tensors(program, nparam, ndims, shapes, dtypes);
  if (!code) code = run_program(program, params);
  program_leave(program);
  return code;
}

/* The node. Its first tensor holds the program's key, once for each of the network's inputs, which follow; their shapes select the
 * program. */
EXPORT int cellwright_program(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream,
                              void *extra) {
  (void)stream, (void)extra;
  int code = find_and_run(nparam, params, ndims, shapes, dtypes);
  if (code && reporter) reporter(code);
  return code;
}

/* builder: makes a program that a node did not find. reporter: is told the error with which a node ends. */
EXPORT void cellwright_callbacks(builder_t new_builder, reporter_t new_reporter) {
  builder = new_builder, reporter = new_reporter;
}
