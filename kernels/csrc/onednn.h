/* The part of oneDNN's C interface (version 3) that is used; the library is opened at run time, from the path that Python names,
 * so that nothing has to be installed beside MindSpore. */
#ifndef CELLWRIGHT_ONEDNN_H
#define CELLWRIGHT_ONEDNN_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef void *handle_t;
typedef int64_t dims_t[12];
typedef struct {
  int arg;
  handle_t memory;
} argument_t;

enum { BF16 = 2, F32 = 3, TAG_ANY = 1, TAG_A = 2, TAG_ABCD = 5, TAG_ABCDE = 6, TAG_NCHW16C = 78, TAG_NCHW8C = 102 };
enum { FORWARD_TRAINING = 64, DIRECT = 1, ELTWISE_RELU = 0x20, SCRATCHPAD_USER = 1, CPU = 1 };
enum { QUERY_IMPL = 8, QUERY_SRC = 129, QUERY_DIFF_SRC, QUERY_WEIGHTS, QUERY_DIFF_WEIGHTS, QUERY_DST, QUERY_DIFF_DST,
       QUERY_SCRATCHPAD = 136 };
enum { ARG_SRC = 1, ARG_DST = 17, ARG_WEIGHTS = 33, ARG_BIAS = 41, ARG_SCRATCHPAD = 80, ARG_DIFF_SRC = 129,
       ARG_DIFF_DST = 145, ARG_DIFF_WEIGHTS = 161, ARG_DIFF_BIAS = 169 };

/* int unless another type is written; X(type, name, arguments). */
#define EACH_DNNL(X)                                                                                                   \
  X(int, engine_create, (handle_t *, int, size_t))                                                                     \
  X(int, stream_create, (handle_t *, handle_t, unsigned))                                                              \
  X(int, memory_desc_create_with_tag, (handle_t *, int, const int64_t *, int, int))                                    \
  X(int, memory_desc_create_with_strides, (handle_t *, int, const int64_t *, int, const int64_t *))                     \
  X(int, memory_desc_clone, (handle_t *, handle_t))                                                                    \
  X(int, memory_desc_destroy, (handle_t))                                                                              \
  X(size_t, memory_desc_get_size, (handle_t))                                                                          \
  X(int, memory_create, (handle_t *, handle_t, handle_t, void *))                                                      \
  X(int, memory_destroy, (handle_t))                                                                                   \
  X(int, memory_set_data_handle, (handle_t, void *))                                                                   \
  X(int, convolution_forward_primitive_desc_create,                                                                    \
    (handle_t *, handle_t, int, int, handle_t, handle_t, handle_t, handle_t, const int64_t *, const int64_t *,         \
     const int64_t *, const int64_t *, handle_t))                                                                      \
  X(int, convolution_backward_data_primitive_desc_create,                                                              \
    (handle_t *, handle_t, int, handle_t, handle_t, handle_t, const int64_t *, const int64_t *, const int64_t *,       \
     const int64_t *, handle_t, handle_t))                                                                             \
  X(int, convolution_backward_weights_primitive_desc_create,                                                           \
    (handle_t *, handle_t, int, handle_t, handle_t, handle_t, handle_t, const int64_t *, const int64_t *,              \
     const int64_t *, const int64_t *, handle_t, handle_t))                                                            \
  X(int, reorder_primitive_desc_create, (handle_t *, handle_t, handle_t, handle_t, handle_t, handle_t))                \
  X(handle_t, primitive_desc_query_md, (handle_t, int, int))                                                           \
  X(int, primitive_desc_query, (handle_t, int, int, void *))                                                           \
  X(int, primitive_desc_destroy, (handle_t))                                                                           \
  X(int, primitive_create, (handle_t *, handle_t))                                                                     \
  X(int, primitive_destroy, (handle_t))                                                                                \
  X(int, primitive_execute, (handle_t, handle_t, int, const argument_t *))                                             \
  X(int, primitive_attr_create, (handle_t *))                                                                          \
  X(int, primitive_attr_set_scratchpad_mode, (handle_t, int))                                                          \
  X(int, primitive_attr_set_post_ops, (handle_t, handle_t))                                                            \
  X(int, post_ops_create, (handle_t *))                                                                                \
  X(int, post_ops_append_eltwise, (handle_t, int, float, float))                                                       \
  X(int, threadpool_interop_set_max_concurrency, (int))                                                                \
  X(int, threadpool_interop_get_max_concurrency, (int *))                                                              \
  X(int, set_max_cpu_isa, (int))                                                                                       \
  X(int, get_effective_cpu_isa, (void))

#define DNNL_MEMBER(type, name, arguments) type(*name) arguments;
extern struct dnnl {
  EACH_DNNL(DNNL_MEMBER)
} dnnl;
extern handle_t dnnl_engine, dnnl_attributes, dnnl_relu_attributes; /* the latter: with a ReLU behind the primitive */

/* Between these two, primitives are planned for one thread: the planner reads a thread-local number. One caller at a time. */
int onednn_begin_planning(void);
void onednn_end_planning(int before);
/* A primitive that is to run needs so many bytes of scratchpad. */
void onednn_need_scratchpad(size_t bytes);
/* Around what runs primitives: the thread works alone. onednn_end is given what onednn_begin returned. */
int onednn_begin(void);
void onednn_end(int before);
/* Runs a primitive on a thread of the team with the thread's scratchpad; 0 or an error of operations.h. */
int onednn_run(handle_t primitive, int thread, argument_t *arguments, int count, handle_t scratchpad);

typedef struct convolution convolution_run_t;
typedef struct reorder reorder_t;

enum { CONV_FORWARD, CONV_INPUT_GRADIENT, CONV_WEIGHT_GRADIENT };

/* The images of a run, of a chunk of so many. */
int conv_chunk(const convolution_run_t *conv, int images);
/* Runs `images` images, of those at source and target the ones from `first` on, which is 0 if all are run at once; weights are in
 * the primitive's own layout. bias may be 0. Returns 0 or an error of operations.h. */
int conv_run(convolution_run_t *conv, int thread, int images, int first, float *source, float *weights, float *bias,
             float *target);
void cellwright_conv_destroy(convolution_run_t *conv);
void cellwright_reorder_destroy(reorder_t *reorder);
int reorder_run(reorder_t *reorder, int thread, float *source, float *target);

#endif
