/* Opens oneDNN, and runs its primitives on the threads of the team, each with a stream and a scratchpad of its own. */
#define _GNU_SOURCE /* RTLD_DEEPBIND */
#include "onednn.h"

#include <dlfcn.h>
#include <stdlib.h>

#include "export.h"
#include "operations.h"
#include "thread_pool.h"

struct dnnl dnnl;
handle_t dnnl_engine, dnnl_attributes, dnnl_relu_attributes;
static handle_t streams[MAX_THREADS];
static void *scratchpads[MAX_THREADS];
static size_t scratchpad_bytes[MAX_THREADS];
static atomic_size_t scratchpad_needed; /* planned while other programs run */
static pthread_mutex_t planning = PTHREAD_MUTEX_INITIALIZER;

#define LOAD(type, name, arguments) \
  if (!(*(void **)(&dnnl.name) = dlsym(library, "dnnl_" #name))) return -2;

static int make_attributes(handle_t *attributes, int relu) {
  handle_t after = 0;
  int code = dnnl.primitive_attr_create(attributes);
  code = code ? code : dnnl.primitive_attr_set_scratchpad_mode(*attributes, SCRATCHPAD_USER);
  if (code || !relu) return code;
  code = dnnl.post_ops_create(&after);
  code = code ? code : dnnl.post_ops_append_eltwise(after, ELTWISE_RELU, 0, 0);
  return code ? code : dnnl.primitive_attr_set_post_ops(*attributes, after);
}

/* Opens the library; 0, or -1 if it is not there, -2 if a symbol lacks, -3 if it is not a version 3, -4 if it has no CPU.
 * own: it is a copy, which finds its own symbols before the framework's, and may use all instructions. */
EXPORT int cellwright_onednn_open(const char *path, int own) {
  if (dnnl_engine) return 0;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | (own ? RTLD_DEEPBIND : 0));
  if (!library) return -1;
  const int *(*version)(void) = 0;
  *(void **)(&version) = dlsym(library, "dnnl_version");
  if (!version || version()[0] != 3) return -3;
  EACH_DNNL(LOAD)
  if (own) dnnl.set_max_cpu_isa(0);
  if (make_attributes(&dnnl_attributes, 0) || make_attributes(&dnnl_relu_attributes, 1)) return -4;
  return dnnl.engine_create(&dnnl_engine, CPU, 0) ? -4 : 0;
}

/* Channels of a block in the layout that this machine's kernels want: 16 with AVX-512, 8 with AVX2, 0 with neither. */
EXPORT int cellwright_onednn_lanes(void) {
  enum { AVX2 = 0x7, AVX512 = 0x27 };
  int isa = dnnl_engine ? dnnl.get_effective_cpu_isa() : 0;
  return (isa & AVX512) == AVX512 ? 16 : (isa & AVX2) == AVX2 ? 8 : 0;
}

int onednn_begin(void) {
  int before = 0;
  dnnl.threadpool_interop_get_max_concurrency(&before);
  dnnl.threadpool_interop_set_max_concurrency(1);
  return before;
}

void onednn_end(int before) { dnnl.threadpool_interop_set_max_concurrency(before); }

int onednn_begin_planning(void) {
  pthread_mutex_lock(&planning);
  return onednn_begin();
}

void onednn_end_planning(int before) {
  onednn_end(before);
  pthread_mutex_unlock(&planning);
}

void onednn_need_scratchpad(size_t bytes) {
  if (bytes > atomic_load(&scratchpad_needed)) atomic_store(&scratchpad_needed, bytes);
}

static int ready(int thread) {
  if (!streams[thread] && dnnl.stream_create(&streams[thread], dnnl_engine, 1)) return ERROR_ONEDNN;
  size_t needed = atomic_load(&scratchpad_needed);
  if (scratchpad_bytes[thread] >= needed) return 0;
  free(scratchpads[thread]);
  scratchpads[thread] = aligned_alloc(64, (needed + 63) / 64 * 64);
  scratchpad_bytes[thread] = scratchpads[thread] ? needed : 0;
  return scratchpads[thread] ? 0 : ERROR_NO_MEMORY;
}

int onednn_run(handle_t primitive, int thread, argument_t *arguments, int count, handle_t scratchpad) {
  int code = ready(thread);
  if (code) return code;
  if (scratchpad) dnnl.memory_set_data_handle(scratchpad, scratchpads[thread]);
  return dnnl.primitive_execute(primitive, streams[thread], count, arguments) ? ERROR_ONEDNN : 0;
}
