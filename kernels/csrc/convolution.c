/* Convolutions of oneDNN for the chunk sizes of a program, and the reorders of their weights. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "export.h"
#include "onednn.h"
#include "operations.h"
#include "thread_pool.h"

#define SIZES 8 /* chunk sizes of one convolution */
#define MEMORIES 5

typedef struct {
  int images;
  handle_t primitive;
  handle_t memory[MAX_THREADS][MEMORIES]; /* source, weights, bias, target, scratchpad */
} sized_t;

struct convolution {
  int direction, sizes, one_by_one; /* one_by_one: no layout of the weights is compiled for all sizes of chunks */
  handle_t weights; /* descriptor */
  convolution_t shape;
  sized_t sized[SIZES];
  char implementation[96];
};

struct reorder {
  handle_t primitive, memory[MAX_THREADS][2];
};

/* tag 0: pixel by pixel with all channels. */
static int describe(handle_t *description, int64_t images, int64_t channels, int64_t height, int64_t width, int tag, int type) {
  dims_t dims = {images, channels, height, width}, strides = {channels * height * width, 1, channels * width, channels};
  if (!tag) return dnnl.memory_desc_create_with_strides(description, 4, dims, type, strides);
  return dnnl.memory_desc_create_with_tag(description, 4, dims, type, tag);
}

/* Weights in some layout, (K, C, k, k), or (groups, K, C, k, k). */
static int describe_weights(handle_t *description, const convolution_t *s, int any, int type) {
  dims_t dims = {s->filters, s->channels, s->kernel_height, s->kernel_width};
  if (s->groups == 1) return dnnl.memory_desc_create_with_tag(description, 4, dims, type, any ? TAG_ANY : TAG_ABCD);
  dims_t grouped = {s->groups, s->filters / s->groups, s->channels / s->groups, s->kernel_height, s->kernel_width};
  return dnnl.memory_desc_create_with_tag(description, 5, grouped, type, any ? TAG_ANY : TAG_ABCDE);
}

/* float32 where it costs nothing: gradients of weights. */
static int weights_type(const convolution_run_t *conv) {
  return conv->shape.bfloat16 && conv->direction != CONV_WEIGHT_GRADIENT ? BF16 : F32;
}

/* The primitive of a convolution for given descriptors: source, weights, bias (or 0), target. */
static int plan(handle_t *desc, const convolution_run_t *conv, const handle_t *d) {
  const convolution_t *s = &conv->shape;
  int64_t strides[2] = {s->stride_height, s->stride_width}, before[2] = {s->top, s->left}, after[2];
  int64_t dilates[2] = {s->dilation_height - 1, s->dilation_width - 1};
  after[0] = (s->out_height - 1) * s->stride_height + (s->kernel_height - 1) * s->dilation_height + 1 - s->height - s->top;
  after[1] = (s->out_width - 1) * s->stride_width + (s->kernel_width - 1) * s->dilation_width + 1 - s->width - s->left;
  int forward = conv->direction == CONV_FORWARD, code;
  handle_t hint = 0, any = 0;
  code = describe_weights(&any, s, 1, s->bfloat16 ? BF16 : F32);
  if (code) return code;
  code = dnnl.convolution_forward_primitive_desc_create(&hint, dnnl_engine, FORWARD_TRAINING, DIRECT, d[0],
                                                        forward ? d[1] : any, forward ? d[2] : 0, d[3], strides, dilates,
                                                        before, after, s->relu ? dnnl_relu_attributes : dnnl_attributes);
  dnnl.memory_desc_destroy(any);
  if (code || forward) {
    *desc = hint;
    return code;
  }
  if (conv->direction == CONV_INPUT_GRADIENT)
    code = dnnl.convolution_backward_data_primitive_desc_create(desc, dnnl_engine, DIRECT, d[0], d[1], d[3], strides,
                                                                dilates, before, after, hint, dnnl_attributes);
  else
    code = dnnl.convolution_backward_weights_primitive_desc_create(desc, dnnl_engine, DIRECT, d[0], d[1], d[2], d[3],
                                                                   strides, dilates, before, after, hint,
                                                                   dnnl_attributes);
  dnnl.primitive_desc_destroy(hint);
  return code;
}

/* Reads the name of the loops; -1 if bfloat16 would run on those that are there for reference, ten thousand times slower. */
static int check_compiled(convolution_run_t *conv, handle_t desc) {
  const char *name = 0;
  if (dnnl.primitive_desc_query(desc, QUERY_IMPL, 0, &name) || !name) return 0;
  strncpy(conv->implementation, name, sizeof conv->implementation - 1);
  return conv->shape.bfloat16 && strstr(name, "ref") ? -1 : 0;
}

/* Makes the primitive and each thread's memories. */
static int make(convolution_run_t *conv, sized_t *sized, handle_t desc, const handle_t *d) {
  int query = conv->direction == CONV_WEIGHT_GRADIENT ? QUERY_DIFF_WEIGHTS : QUERY_WEIGHTS;
  int code = check_compiled(conv, desc);
  if (!code && !conv->weights) code = dnnl.memory_desc_clone(&conv->weights, dnnl.primitive_desc_query_md(desc, query, 0));
  code = code ? code : dnnl.primitive_create(&sized->primitive, desc);
  if (code) return code;
  handle_t scratchpad = dnnl.primitive_desc_query_md(desc, QUERY_SCRATCHPAD, 0);
  onednn_need_scratchpad(dnnl.memory_desc_get_size(scratchpad));
  const handle_t descriptions[MEMORIES] = {d[0], conv->weights, d[2], d[3], scratchpad};
  for (int thread = 0; thread < pool_threads(); thread++)
    for (int k = 0; k < MEMORIES && !code; k++)
      if (descriptions[k]) code = dnnl.memory_create(&sized->memory[thread][k], descriptions[k], dnnl_engine, 0);
  return code;
}

static int add_size(convolution_run_t *conv, int64_t images, int tag) {
  const convolution_t *s = &conv->shape;
  handle_t d[4] = {0}, any = 0, desc = 0;
  dims_t filters = {s->filters};
  int type = s->bfloat16 ? BF16 : F32;
  if (s->rows) tag = 0;
  int code = describe(&d[0], images, s->channels, s->height, s->width, s->plain_source ? TAG_ABCD : tag, type);
  code |= describe(&d[3], images, s->filters, s->out_height, s->out_width, tag, type);
  code |= describe_weights(&any, s, 1, weights_type(conv));
  if (s->bias && conv->direction != CONV_INPUT_GRADIENT)
    code |= dnnl.memory_desc_create_with_tag(&d[2], 1, filters, F32, TAG_A);
  d[1] = conv->weights ? conv->weights : any;
  code = code ? code : plan(&desc, conv, d);
  code = code ? code : make(conv, &conv->sized[conv->sizes], desc, d);
  conv->sized[conv->sizes++].images = (int)images;
  if (desc) dnnl.primitive_desc_destroy(desc);
  const handle_t own[4] = {d[0], any, d[2], d[3]};
  for (int k = 0; k < 4; k++)
    if (own[k]) dnnl.memory_desc_destroy(own[k]);
  return code;
}

EXPORT void cellwright_conv_destroy(convolution_run_t *conv) {
  for (int i = 0; i < conv->sizes; i++) {
    for (int thread = 0; thread < MAX_THREADS; thread++)
      for (int k = 0; k < MEMORIES; k++)
        if (conv->sized[i].memory[thread][k]) dnnl.memory_destroy(conv->sized[i].memory[thread][k]);
    if (conv->sized[i].primitive) dnnl.primitive_destroy(conv->sized[i].primitive);
  }
  if (conv->weights) dnnl.memory_desc_destroy(conv->weights);
  free(conv);
}

static convolution_run_t *create(int direction, const convolution_t *shape, int lanes, int sizes, const int64_t *images) {
  convolution_run_t *conv = calloc(1, sizeof *conv);
  if (!conv) return 0;
  conv->direction = direction;
  conv->shape = *shape;
  int before = onednn_begin_planning(), code = 0;
  for (int i = 0; i < sizes && !code; i++) code = add_size(conv, images[i], lanes == 16 ? TAG_NCHW16C : TAG_NCHW8C);
  onednn_end_planning(before);
  if (!code) return conv;
  cellwright_conv_destroy(conv);
  return 0;
}

/* Returns a convolution for the chunk sizes `images`, or 0. lanes: channels of a block, 16 or 8. Some loops want the weights in
 * another layout for each size of chunk; then the images are convolved one by one. */
EXPORT convolution_run_t *cellwright_conv_create(int direction, const convolution_t *shape, int lanes, int sizes,
                                                 const int64_t *images) {
  if (!dnnl_engine || sizes < 1 || sizes > SIZES) return 0;
  convolution_run_t *conv = create(direction, shape, lanes, sizes, images);
  if (conv || !shape->rows) return conv;
  conv = create(direction, shape, lanes, 1, (int64_t[]){1});
  if (conv) conv->one_by_one = 1;
  return conv;
}

EXPORT const char *cellwright_conv_implementation(const convolution_run_t *conv) { return conv->implementation; }

/* Floats that the weights take in the convolution's own layout. */
EXPORT int64_t cellwright_conv_weights(const convolution_run_t *conv) {
  return (int64_t)((dnnl.memory_desc_get_size(conv->weights) + sizeof(float) - 1) / sizeof(float));
}

EXPORT void cellwright_reorder_destroy(reorder_t *reorder) {
  for (int thread = 0; thread < MAX_THREADS; thread++)
    for (int k = 0; k < 2; k++)
      if (reorder->memory[thread][k]) dnnl.memory_destroy(reorder->memory[thread][k]);
  if (reorder->primitive) dnnl.primitive_destroy(reorder->primitive);
  free(reorder);
}

/* Returns the reorder between plain weights and the convolution's own layout, or 0. */
EXPORT reorder_t *cellwright_reorder_create(const convolution_run_t *conv, int to_plain) {
  reorder_t *reorder = calloc(1, sizeof *reorder);
  if (!reorder) return 0;
  handle_t plain = 0, desc = 0;
  int before = onednn_begin_planning(), code = describe_weights(&plain, &conv->shape, 0, F32);
  handle_t from = to_plain ? conv->weights : plain, to = to_plain ? plain : conv->weights;
  code = code ? code : dnnl.reorder_primitive_desc_create(&desc, from, dnnl_engine, to, dnnl_engine, dnnl_attributes);
  code = code ? code : dnnl.primitive_create(&reorder->primitive, desc);
  if (!code) onednn_need_scratchpad(dnnl.memory_desc_get_size(dnnl.primitive_desc_query_md(desc, QUERY_SCRATCHPAD, 0)));
  for (int thread = 0; thread < pool_threads() && !code; thread++) {
    code = dnnl.memory_create(&reorder->memory[thread][0], from, dnnl_engine, 0);
    code = code ? code : dnnl.memory_create(&reorder->memory[thread][1], to, dnnl_engine, 0);
  }
  if (desc) dnnl.primitive_desc_destroy(desc);
  if (plain) dnnl.memory_desc_destroy(plain);
  onednn_end_planning(before);
  if (!code) return reorder;
  cellwright_reorder_destroy(reorder);
  return 0;
}

int conv_chunk(const convolution_run_t *conv, int images) { return conv->one_by_one ? 1 : images; }

int conv_run(convolution_run_t *conv, int thread, int images, int first, float *source, float *weights, float *bias,
             float *target) {
  static const int args[3][4] = {{ARG_SRC, ARG_WEIGHTS, ARG_BIAS, ARG_DST},
                                 {ARG_DIFF_SRC, ARG_WEIGHTS, 0, ARG_DIFF_DST},
                                 {ARG_SRC, ARG_DIFF_WEIGHTS, ARG_DIFF_BIAS, ARG_DIFF_DST}};
  const convolution_t *s = &conv->shape;
  sized_t *sized = 0;
  for (int i = 0; i < conv->sizes; i++)
    if (conv->sized[i].images == images) sized = &conv->sized[i];
  if (!sized) return ERROR_UNPREPARED;
  /* Tiles that are off by a part of a cache line cost twice the time. */
  if (s->rows && (((uintptr_t)source | (uintptr_t)weights | (uintptr_t)target) & 63)) return ERROR_UNALIGNED;
  char *own_source = (char *)source + 2 * first * s->channels * s->height * s->width;
  char *own_target = (char *)target + 2 * first * s->filters * s->out_height * s->out_width;
  void *pointers[4] = {own_source, weights, bias, own_target};
  handle_t *memory = sized->memory[thread];
  argument_t list[MEMORIES] = {{ARG_SCRATCHPAD, memory[4]}};
  int count = 1;
  for (int k = 0; k < 4; k++)
    if (pointers[k] && memory[k]) {
      dnnl.memory_set_data_handle(memory[k], pointers[k]);
      list[count++] = (argument_t){args[conv->direction][k], memory[k]};
    }
  return onednn_run(sized->primitive, thread, list, count, memory[4]);
}

int reorder_run(reorder_t *reorder, int thread, float *source, float *target) {
  handle_t *memory = reorder->memory[thread];
  dnnl.memory_set_data_handle(memory[0], source);
  dnnl.memory_set_data_handle(memory[1], target);
  argument_t list[2] = {{ARG_SRC, memory[0]}, {ARG_DST, memory[1]}};
  return onednn_run(reorder->primitive, thread, list, 2, 0);
}

typedef struct {
  convolution_run_t *conv;
  int images;
  double seconds;
} timed_t;

static void time_runs(int thread, void *argument) {
  timed_t *timed = argument;
  convolution_run_t *conv = timed->conv;
  const convolution_t *s = &conv->shape;
  if (thread) return;
  size_t floats = s->channels * s->height * s->width, out = s->filters * s->out_height * s->out_width;
  size_t bytes = (floats > out ? floats : out) * timed->images * sizeof(float), weights = 4 * cellwright_conv_weights(conv);
  void *buffers[3] = {aligned_alloc(64, (bytes + 63) / 64 * 64), aligned_alloc(64, (weights + 63) / 64 * 64),
                      aligned_alloc(64, (bytes + 63) / 64 * 64)};
  int before = onednn_begin();
  for (int run = 0; run < 8 && buffers[0] && buffers[1] && buffers[2]; run++) {
    struct timespec begin, end;
    if (!run) memset(buffers[0], 0, bytes), memset(buffers[1], 0, weights);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begin);
    if (conv_run(conv, thread, timed->images, 0, buffers[0], buffers[1], 0, buffers[2])) break;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
    if (run && (!timed->seconds || seconds < timed->seconds)) timed->seconds = seconds;
  }
  onednn_end(before);
  for (int k = 0; k < 3; k++) free(buffers[k]);
}

/* The least processor time of a thread for one run of a convolution without bias, on zeros; 0 if it cannot be run. */
EXPORT double cellwright_conv_seconds(convolution_run_t *conv, int images) {
  timed_t timed = {conv, images, 0};
  pool_run(time_runs, &timed);
  return timed.seconds;
}
