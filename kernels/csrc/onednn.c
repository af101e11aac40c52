/* The declarations below are the part of oneDNN's C interface (version 3) that is used; the library is opened at run time, from
 * the path that Python names, so that nothing has to be installed beside MindSpore. */
#include "onednn.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "pool.h"

#define EXPORT __attribute__((visibility("default")))
#define SIZES 8 /* chunk sizes of one convolution */

typedef void *handle_t;
typedef int64_t dims_t[12];
typedef struct {
  int arg;
  handle_t memory;
} argument_t;

enum { F32 = 3, TAG_ANY = 1, TAG_A = 2, TAG_NCHW = 5, TAG_NCHW16C = 78, TAG_NCHW8C = 102 };
enum { FORWARD_TRAINING = 64, DIRECT = 1, SCRATCHPAD_USER = 1, CPU = 1 };
enum { QUERY_IMPL = 8, QUERY_SRC = 129, QUERY_DIFF_SRC, QUERY_WEIGHTS, QUERY_DIFF_WEIGHTS, QUERY_DST, QUERY_DIFF_DST,
       QUERY_SCRATCHPAD = 136 };
enum { ARG_SRC = 1, ARG_DST = 17, ARG_WEIGHTS = 33, ARG_BIAS = 41, ARG_SCRATCHPAD = 80, ARG_DIFF_SRC = 129,
       ARG_DIFF_DST = 145, ARG_DIFF_WEIGHTS = 161, ARG_DIFF_BIAS = 169 };

static struct {
  int (*engine_create)(handle_t *, int, size_t);
  int (*stream_create)(handle_t *, handle_t, unsigned);
  int (*memory_desc_create_with_tag)(handle_t *, int, const int64_t *, int, int);
  int (*memory_desc_clone)(handle_t *, handle_t);
  int (*memory_desc_destroy)(handle_t);
  size_t (*memory_desc_get_size)(handle_t);
  int (*memory_desc_equal)(handle_t, handle_t);
  int (*memory_create)(handle_t *, handle_t, handle_t, void *);
  int (*memory_set_data_handle)(handle_t, void *);
  int (*convolution_forward_primitive_desc_create)(handle_t *, handle_t, int, int, handle_t, handle_t, handle_t, handle_t,
                                                   const int64_t *, const int64_t *, const int64_t *, const int64_t *,
                                                   handle_t);
  int (*convolution_backward_data_primitive_desc_create)(handle_t *, handle_t, int, handle_t, handle_t, handle_t,
                                                         const int64_t *, const int64_t *, const int64_t *,
                                                         const int64_t *, handle_t, handle_t);
  int (*convolution_backward_weights_primitive_desc_create)(handle_t *, handle_t, int, handle_t, handle_t, handle_t,
                                                            handle_t, const int64_t *, const int64_t *, const int64_t *,
                                                            const int64_t *, handle_t, handle_t);
  int (*reorder_primitive_desc_create)(handle_t *, handle_t, handle_t, handle_t, handle_t, handle_t);
  handle_t (*primitive_desc_query_md)(handle_t, int, int);
  int (*primitive_desc_query)(handle_t, int, int, void *);
  int (*primitive_desc_destroy)(handle_t);
  int (*primitive_create)(handle_t *, handle_t);
  int (*primitive_execute)(handle_t, handle_t, int, const argument_t *);
  int (*primitive_attr_create)(handle_t *);
  int (*primitive_attr_set_scratchpad_mode)(handle_t, int);
  int (*threadpool_interop_set_max_concurrency)(int);
  int (*threadpool_interop_get_max_concurrency)(int *);
  int (*get_effective_cpu_isa)(void);
} dnnl;

static handle_t engine, attributes, streams[MAX_THREADS];
static void *scratchpads[MAX_THREADS];
static size_t scratchpad_bytes[MAX_THREADS], scratchpad_needed;
static pthread_mutex_t creating = PTHREAD_MUTEX_INITIALIZER;

typedef struct {
  int images;
  handle_t primitive;
  handle_t memory[MAX_THREADS][5]; /* source, weights, bias, target, scratchpad */
} sized_t;

struct conv {
  int direction, sizes;
  handle_t weights; /* descriptor */
  int64_t shape[9]; /* C, H, W, K, kernel, stride, top, left, and 1 if there is a bias */
  sized_t sized[SIZES];
  char implementation[96];
};

struct reorder {
  handle_t primitive, memory[MAX_THREADS][2];
};

#define LOAD(name) \
  if (!(*(void **)(&dnnl.name) = dlsym(library, "dnnl_" #name))) return -2

/* Opens the library; 0, or -1 if it is not there, -2 if a symbol lacks, -3 if it is not a version 3. */
EXPORT int cellwright_onednn_open(const char *path) {
  if (engine) return 0;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) return -1;
  const int *(*version)(void) = 0;
  *(void **)(&version) = dlsym(library, "dnnl_version");
  if (!version || version()[0] != 3) return -3;
  LOAD(engine_create);
  LOAD(stream_create);
  LOAD(memory_desc_create_with_tag);
  LOAD(memory_desc_clone);
  LOAD(memory_desc_destroy);
  LOAD(memory_desc_get_size);
  LOAD(memory_desc_equal);
  LOAD(memory_create);
  LOAD(memory_set_data_handle);
  LOAD(convolution_forward_primitive_desc_create);
  LOAD(convolution_backward_data_primitive_desc_create);
  LOAD(convolution_backward_weights_primitive_desc_create);
  LOAD(reorder_primitive_desc_create);
  LOAD(primitive_desc_query_md);
  LOAD(primitive_desc_query);
  LOAD(primitive_desc_destroy);
  LOAD(primitive_create);
  LOAD(primitive_execute);
  LOAD(primitive_attr_create);
  LOAD(primitive_attr_set_scratchpad_mode);
  LOAD(threadpool_interop_set_max_concurrency);
  LOAD(threadpool_interop_get_max_concurrency);
  LOAD(get_effective_cpu_isa);
  if (dnnl.primitive_attr_create(&attributes)) return -4;
  dnnl.primitive_attr_set_scratchpad_mode(attributes, SCRATCHPAD_USER);
  return dnnl.engine_create(&engine, CPU, 0) ? -4 : 0;
}

/* Channels of a block in the layout that this machine's kernels want: 16 with AVX-512, 8 with AVX2, 0 with neither. */
EXPORT int cellwright_onednn_lanes(void) {
  enum { AVX2 = 0x7, AVX512 = 0x27 };
  int isa = engine ? dnnl.get_effective_cpu_isa() : 0;
  return (isa & AVX512) == AVX512 ? 16 : (isa & AVX2) == AVX2 ? 8 : 0;
}

static int describe(handle_t *description, int64_t a, int64_t b, int64_t c, int64_t d, int tag) {
  dims_t dims = {a, b, c, d};
  return dnnl.memory_desc_create_with_tag(description, 4, dims, F32, tag);
}

static int scratch_for(int thread) {
  if (scratchpad_bytes[thread] >= scratchpad_needed) return 0;
  free(scratchpads[thread]);
  scratchpads[thread] = aligned_alloc(64, (scratchpad_needed + 63) / 64 * 64);
  scratchpad_bytes[thread] = scratchpads[thread] ? scratchpad_needed : 0;
  return scratchpads[thread] ? 0 : 1;
}

/* One thread runs a primitive, so it is planned for one; the planner reads a thread-local number. */
static int add_size(conv_t *conv, int64_t images, int tag) {
  const int64_t *s = conv->shape;
  int64_t out_h, out_w, dilates[2] = {0, 0}, strides[2] = {s[5], s[5]}, before[2] = {s[6], s[7]}, after[2];
  out_h = conv->shape[8] >> 32, out_w = (conv->shape[8] >> 1) & 0x7fffffff;
  after[0] = (out_h - 1) * s[5] + s[4] - s[1] - s[6];
  after[1] = (out_w - 1) * s[5] + s[4] - s[2] - s[7];
  int has_bias = conv->shape[8] & 1, code = 0;
  int source_tag = s[0] < 8 ? TAG_NCHW : tag;
  handle_t source = 0, weights = 0, bias = 0, target = 0, forward = 0, desc = 0;
  dims_t channels = {s[3]};
  code |= describe(&source, images, s[0], s[1], s[2], source_tag);
  code |= describe(&target, images, s[3], out_h, out_w, tag);
  code |= describe(&weights, s[3], s[0], s[4], s[4], TAG_ANY);
  code |= dnnl.memory_desc_create_with_tag(&bias, 1, channels, F32, TAG_A);
  if (code) return code;
  handle_t fixed = conv->weights ? conv->weights : weights;
  handle_t forward_weights = conv->direction == CONV_FORWARD ? fixed : weights;
  code = dnnl.convolution_forward_primitive_desc_create(&forward, engine, FORWARD_TRAINING, DIRECT, source, forward_weights,
                                                        has_bias && conv->direction == CONV_FORWARD ? bias : 0, target,
                                                        strides, dilates, before, after, attributes);
  if (code) return code;
  int query = QUERY_WEIGHTS;
  if (conv->direction == CONV_FORWARD) {
    desc = forward;
  } else if (conv->direction == CONV_INPUT_GRADIENT) {
    code = dnnl.convolution_backward_data_primitive_desc_create(&desc, engine, DIRECT, source, fixed, target, strides,
                                                                dilates, before, after, forward, attributes);
  } else {
    query = QUERY_DIFF_WEIGHTS;
    code = dnnl.convolution_backward_weights_primitive_desc_create(&desc, engine, DIRECT, source, fixed,
                                                                   has_bias ? bias : 0, target, strides, dilates, before,
                                                                   after, forward, attributes);
  }
  if (code) return code;
  if (!conv->weights) {
    code |= dnnl.memory_desc_clone(&conv->weights, dnnl.primitive_desc_query_md(desc, query, 0));
    const char *name = 0;
    if (!dnnl.primitive_desc_query(desc, QUERY_IMPL, 0, &name) && name)
      strncpy(conv->implementation, name, sizeof conv->implementation - 1);
  }
  sized_t *sized = &conv->sized[conv->sizes];
  sized->images = (int)images;
  code |= dnnl.primitive_create(&sized->primitive, desc);
  handle_t scratchpad = dnnl.primitive_desc_query_md(desc, QUERY_SCRATCHPAD, 0);
  size_t bytes = dnnl.memory_desc_get_size(scratchpad);
  if (bytes > scratchpad_needed) scratchpad_needed = bytes;
  for (int thread = 0; thread < pool_threads() && !code; thread++) {
    handle_t *memory = sized->memory[thread];
    code |= dnnl.memory_create(&memory[0], source, engine, 0);
    code |= dnnl.memory_create(&memory[1], conv->weights, engine, 0);
    code |= dnnl.memory_create(&memory[2], bias, engine, 0);
    code |= dnnl.memory_create(&memory[3], target, engine, 0);
    code |= dnnl.memory_create(&memory[4], scratchpad, engine, 0);
  }
  if (desc != forward) dnnl.primitive_desc_destroy(forward);
  dnnl.primitive_desc_destroy(desc);
  dnnl.memory_desc_destroy(source);
  dnnl.memory_desc_destroy(weights);
  dnnl.memory_desc_destroy(bias);
  dnnl.memory_desc_destroy(target);
  if (!code) conv->sizes++;
  return code;
}

/* Returns a convolution for the chunk sizes `images`, or 0. shape: C, H, W, K, kernel, stride, pad top, pad left, then
 * (output height << 32 | output width << 1 | bias). lanes: channels of a block, 16 or 8. */
EXPORT conv_t *cellwright_conv_create(int direction, const int64_t *shape, int lanes, int sizes, const int64_t *images) {
  if (!engine || sizes < 1 || sizes > SIZES) return 0;
  conv_t *conv = calloc(1, sizeof *conv);
  if (!conv) return 0;
  conv->direction = direction;
  memcpy(conv->shape, shape, sizeof conv->shape);
  pthread_mutex_lock(&creating);
  int before = 0, code = 0;
  dnnl.threadpool_interop_get_max_concurrency(&before);
  dnnl.threadpool_interop_set_max_concurrency(1);
  for (int i = 0; i < sizes && !code; i++) code = add_size(conv, images[i], lanes == 16 ? TAG_NCHW16C : TAG_NCHW8C);
  dnnl.threadpool_interop_set_max_concurrency(before);
  pthread_mutex_unlock(&creating);
  if (!code) return conv;
  free(conv);
  return 0;
}

EXPORT const char *cellwright_conv_implementation(const conv_t *conv) { return conv->implementation; }

/* Floats of the weights in the convolution's own layout. */
EXPORT int64_t cellwright_conv_weights(const conv_t *conv) {
  return (int64_t)(dnnl.memory_desc_get_size(conv->weights) / sizeof(float));
}

/* Returns the reorder between plain (K, C, k, k) weights and the convolution's own layout, or 0. */
EXPORT reorder_t *cellwright_reorder_create(const conv_t *conv, int to_plain) {
  reorder_t *reorder = calloc(1, sizeof *reorder);
  handle_t plain = 0, desc = 0;
  if (!reorder) return 0;
  const int64_t *s = conv->shape;
  pthread_mutex_lock(&creating);
  int before = 0;
  dnnl.threadpool_interop_get_max_concurrency(&before);
  dnnl.threadpool_interop_set_max_concurrency(1);
  int code = describe(&plain, s[3], s[0], s[4], s[4], TAG_NCHW);
  handle_t from = to_plain ? conv->weights : plain, to = to_plain ? plain : conv->weights;
  code |= code ? code : dnnl.reorder_primitive_desc_create(&desc, from, engine, to, engine, attributes);
  code |= code ? code : dnnl.primitive_create(&reorder->primitive, desc);
  if (!code) {
    size_t bytes = dnnl.memory_desc_get_size(dnnl.primitive_desc_query_md(desc, QUERY_SCRATCHPAD, 0));
    if (bytes > scratchpad_needed) scratchpad_needed = bytes;
    for (int thread = 0; thread < pool_threads(); thread++) {
      code |= dnnl.memory_create(&reorder->memory[thread][0], from, engine, 0);
      code |= dnnl.memory_create(&reorder->memory[thread][1], to, engine, 0);
    }
    dnnl.primitive_desc_destroy(desc);
  }
  dnnl.memory_desc_destroy(plain);
  dnnl.threadpool_interop_set_max_concurrency(before);
  pthread_mutex_unlock(&creating);
  if (!code) return reorder;
  free(reorder);
  return 0;
}

static int ready(int thread) {
  if (!streams[thread]) {
    dnnl.threadpool_interop_set_max_concurrency(1);
    if (dnnl.stream_create(&streams[thread], engine, 1)) return 1;
  }
  return scratch_for(thread);
}

int conv_run(conv_t *conv, int thread, int images, float *source, float *weights, float *bias, float *target) {
  static const int args[3][4] = {{ARG_SRC, ARG_WEIGHTS, ARG_DST, ARG_BIAS},
                                 {ARG_DIFF_SRC, ARG_WEIGHTS, ARG_DIFF_DST, 0},
                                 {ARG_SRC, ARG_DIFF_WEIGHTS, ARG_DIFF_DST, ARG_DIFF_BIAS}};
  sized_t *sized = 0;
  for (int i = 0; i < conv->sizes; i++)
    if (conv->sized[i].images == images) sized = &conv->sized[i];
  if (!sized || ready(thread)) return 71;
  handle_t *memory = sized->memory[thread];
  const int *arg = args[conv->direction];
  dnnl.memory_set_data_handle(memory[0], source);
  dnnl.memory_set_data_handle(memory[1], weights);
  dnnl.memory_set_data_handle(memory[3], target);
  dnnl.memory_set_data_handle(memory[4], scratchpads[thread]);
  argument_t list[5] = {
      {arg[0], memory[0]}, {arg[1], memory[1]}, {arg[2], memory[3]}, {ARG_SCRATCHPAD, memory[4]}, {arg[3], memory[2]}};
  if (bias) dnnl.memory_set_data_handle(memory[2], bias);
  return dnnl.primitive_execute(sized->primitive, streams[thread], bias ? 5 : 4, list);
}

int reorder_run(reorder_t *reorder, int thread, float *source, float *target) {
  if (ready(thread)) return 71;
  dnnl.memory_set_data_handle(reorder->memory[thread][0], source);
  dnnl.memory_set_data_handle(reorder->memory[thread][1], target);
  argument_t list[2] = {{ARG_SRC, reorder->memory[thread][0]}, {ARG_DST, reorder->memory[thread][1]}};
  return dnnl.primitive_execute(reorder->primitive, streams[thread], 2, list);
}
