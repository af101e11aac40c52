#include "program_store.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "onednn.h"

static program_t *programs;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

int buffer_grow(float **buffer, int64_t floats) {
  free(*buffer);
  *buffer = aligned_alloc(ALIGN, ((size_t)floats * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN + ALIGN);
  return *buffer ? 0 : ERROR_NO_MEMORY;
}

static void destroy_list(list_t *list) {
  for (int64_t k = 0; k < list->count; k++) {
    op_t *op = &list->items[k];
    if (!op->handle) continue;
    if (op->kind == OP_CONV || op->kind == OP_WEIGHT_GRADIENT)
      cellwright_conv_destroy(op->handle);
    else
      cellwright_reorder_destroy(op->handle);
  }
  free(list->items);
}

static void destroy(program_t *program) {
  for (int64_t s = 0; s < program->stages_count; s++) {
    destroy_list(&program->stages[s].operations);
    for (int phase = 0; phase < PHASES; phase++) destroy_list(&program->stages[s].jobs[phase]);
  }
  free(program->stages);
  free(program->sizes);
  free(program->kept);
  free(program);
}

void program_leave(program_t *program) {
  pthread_mutex_lock(&lock);
  int64_t users = --program->users;
  pthread_mutex_unlock(&lock);
  if (!users) destroy(program);
}

program_t *program_find(int64_t key, const int64_t *shape) {
  pthread_mutex_lock(&lock);
  program_t *found = programs;
  while (found && (found->key != key || memcmp(found->shape, shape, sizeof found->shape))) found = found->next;
  if (found) found->users++;
  pthread_mutex_unlock(&lock);
  return found;
}

/* Building, from Python, one program at a time; a program is found by nodes once it is published. saved_index, work_index: the
 * tensors of the node that hold the saved tensors and, or -1, the work memory. Returns 0 without memory. */
EXPORT program_t *cellwright_program_new(int64_t key, const int64_t *shape, int64_t lanes, int64_t bfloat16,
                                         int64_t threads, int64_t saved_index, int64_t work_index, int64_t tensors,
                                         const int64_t *sizes) {
  program_t *program = calloc(1, sizeof *program);
  int64_t *copy = malloc(tensors * sizeof *sizes);
  if (!program || !copy) {
    free(program), free(copy);
    return 0;
  }
  program->key = key, program->operations = operations_for(lanes, bfloat16), program->threads = threads, program->tensors = tensors;
  program->saved_index = saved_index, program->work_index = work_index;
  memcpy(program->shape, shape, sizeof program->shape);
  program->sizes = memcpy(copy, sizes, tensors * sizeof *sizes);
  program->users = 1;
  return program;
}

static int copy_list(list_t *list, const op_t *items, int64_t count) {
  list->items = malloc((count ? count : 1) * sizeof *items);
  if (!list->items) return ERROR_NO_MEMORY;
  memcpy(list->items, items, count * sizeof *items);
  list->count = count;
  return 0;
}

EXPORT int cellwright_program_stage(program_t *program, int64_t capacity, const op_t *operations, int64_t count,
                                    const op_t *const *jobs, const int64_t *job_counts) {
  stage_t *grown = realloc(program->stages, (program->stages_count + 1) * sizeof *grown);
  if (!grown) return ERROR_NO_MEMORY;
  program->stages = grown;
  stage_t *stage = &grown[program->stages_count++];
  memset(stage, 0, sizeof *stage);
  stage->capacity = capacity;
  int code = copy_list(&stage->operations, operations, count);
  for (int phase = 0; phase < PHASES && !code; phase++) code = copy_list(&stage->jobs[phase], jobs[phase], job_counts[phase]);
  return code;
}

EXPORT int cellwright_program_publish(program_t *program, int64_t work_size, int64_t scratch_size, int64_t kept_size) {
  program->work = work_size, program->scratch = scratch_size, program->kept_floats = kept_size;
  if (kept_size && buffer_grow(&program->kept, kept_size)) return ERROR_NO_MEMORY;
  if (kept_size) memset(program->kept, 0, kept_size * sizeof(float));
  pthread_mutex_lock(&lock);
  program->next = programs;
  programs = program;
  pthread_mutex_unlock(&lock);
  return 0;
}

/* Frees a program, with its convolutions; one that runs is freed when it has ended. */
EXPORT void cellwright_program_free(program_t *program) {
  pthread_mutex_lock(&lock);
  for (program_t **link = &programs; *link; link = &(*link)->next)
    if (*link == program) {
      *link = program->next;
      break;
    }
  pthread_mutex_unlock(&lock);
  program_leave(program);
}
