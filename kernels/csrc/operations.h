/* Made by `python kernels/csrc/operations.py` from the table there; not to be edited. */
#ifndef CELLWRIGHT_OPERATIONS_H
#define CELLWRIGHT_OPERATIONS_H
#include <stdint.h>

/* Where an operand lies. `base`: the number of a tensor of the node, or one of these. In floats: offset,
 * stride (of an image) and channel (where a part of a concatenation begins inside each image). */
enum {
  BASE_NONE = -1, /* nowhere */
  BASE_TAPE = -2, /* saved from the forward to the backward node */
  BASE_WORK = -3, /* all images, until the node ends */
  BASE_SCRATCH = -4, /* one chunk, one thread, until the stage ends; offset for each image of the chunk's capacity */
  BASE_PER_THREAD = -5, /* in the work memory; `stride` is that of a thread */
  BASE_KEPT = -6, /* from one run of the program to the next */
};
typedef struct {
  int64_t base, offset, stride, channel;
} operand_t;

#define MOST_INPUTS 8
enum { FORM_STORED, FORM_WIDE, FORM_ROWS };

enum {
  ERROR_UNBOUND = 70, /* no kernel is bound to this slot */
  ERROR_UNPREPARED = 71, /* a primitive of oneDNN was not prepared for this size of chunk */
  ERROR_WRONG_TENSORS = 72, /* tensors of other shapes, dtypes or number than the node was planned for */
  ERROR_NO_PROGRAM = 73, /* no program could be made for inputs of this shape */
  ERROR_UNKNOWN_KIND = 74, /* an operation that this library does not have */
  ERROR_NO_MEMORY = 75, /* out of memory */
  ERROR_UNKNOWN_GROUP = 76, /* no such group of ranks */
  ERROR_RANKS_DIFFER = 77, /* the ranks add up different tensors */
  ERROR_ONEDNN = 78, /* oneDNN could not run a primitive */
  ERROR_OTHER_THREADS = 79, /* the program was made for a team of another size */
  ERROR_UNALIGNED = 80, /* a convolution in rows is given memory that does not begin with a cache line */
  ERROR_NOT_CARRIED = 81, /* sums that are rounded have no place for what is rounded off */
  ERROR_NO_FACTORS = 82, /* a gradient that comes as factors holds none: its layer runs several times in a step */
};

typedef struct {
  int64_t channels, height, width, filters, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width, top, left, groups, bias, plain_source, bfloat16, rows, relu;
} convolution_t;

typedef struct {
  operand_t source, weights, bias, target;
} op_conv_t;
typedef struct {
  operand_t source, sum, bias_sum, gradient, part, bias_part;
  int64_t floats, bias_floats;
} op_weight_gradient_t;
typedef struct {
  operand_t source, gradient, sum, bias_sum, pairs;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width, top, left, filter_blocks, group;
} op_paired_weight_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t channels, pixels, form;
} op_import_t;
typedef struct {
  operand_t source, target;
  int64_t channels, pixels, form;
} op_export_t;
typedef struct {
  operand_t source, target;
  int64_t floats;
} op_copy_t;
typedef struct {
  operand_t source, target;
  int64_t floats;
} op_add_t;
typedef struct {
  operand_t source, target;
  int64_t floats, form;
} op_round_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, pixels, channels, form, add;
} op_unpack_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, height, width, top, left, framed_height, framed_width;
} op_frame_t;
typedef struct {
  operand_t source, partial;
  int64_t blocks, pixels;
} op_statistics_t;
typedef struct {
  operand_t source, target, mean, scale, shift;
  int64_t blocks, pixels, channels, form;
  double slope;
} op_affine_t;
typedef struct {
  operand_t gradient, source, mean, scale, shift, partial, kept;
  int64_t blocks, pixels, keep;
  double slope;
} op_norm_reduce_t;
typedef struct {
  operand_t gradient, source, target, mean, scale, shift, slopes, constants;
  int64_t blocks, pixels, channels, form, activated, linear;
  double slope;
} op_apply_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, top, left, padded_height, padded_width, zero_padded;
} op_max_pool_t;
typedef struct {
  operand_t source, pooled, gradient, target, sums;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, top, left, padded_height, padded_width, add;
} op_max_pool_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, top, left, padded_height, padded_width, count_padding, divisor;
} op_avg_pool_t;
typedef struct {
  operand_t gradient, target, sums;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, top, left, padded_height, padded_width, count_padding, divisor, add;
} op_avg_pool_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, height, width, out_height, out_width, linear, corners, centres;
} op_resize_t;
typedef struct {
  operand_t gradient, target, sums;
  int64_t blocks, height, width, out_height, out_width, linear, corners, centres, add;
} op_resize_gradient_t;
typedef struct {
  operand_t source, target, weights;
  int64_t blocks, pixels;
} op_gather_t;
typedef struct {
  operand_t source, gradient, weights, target, sum;
  int64_t blocks, pixels, add;
} op_gather_gradient_t;
typedef struct {
  operand_t left, right, gate, target;
  int64_t blocks, pixels, linear_gate;
  double slope;
} op_join_t;
typedef struct {
  operand_t left, joined, gate, gradient, target, gate_gradient;
  int64_t blocks, pixels, add, add_gate, linear_gate;
  double slope;
} op_join_gradient_t;
typedef struct {
  operand_t source, weights, bias, target;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width, top, left, channels, form;
} op_depthwise_t;
typedef struct {
  operand_t gradient, weights, target;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width, top, left, channels, form;
} op_depthwise_input_gradient_t;
typedef struct {
  operand_t source, gradient, sum, bias_sum;
  int64_t blocks, height, width, out_height, out_width, kernel_height, kernel_width, stride_height, stride_width, dilation_height, dilation_width, top, left, channels, form;
} op_depthwise_weight_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t pixels, first, count, inner, inner_stride, outer_stride, target_first, total, add;
} op_channels_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, pixels, first, count, inner, inner_stride, outer_stride, add;
} op_channels_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, pixels, channels, function;
} op_pointwise_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, pixels, add;
} op_half_t;
typedef struct {
  operand_t source, target, slopes;
  int64_t blocks, pixels, shared;
} op_prelu_t;
typedef struct {
  operand_t source, gradient, target, slopes, sum;
  int64_t blocks, pixels, shared, add;
} op_prelu_gradient_t;
typedef struct {
  operand_t source, target, gamma, beta;
  int64_t blocks, pixels, channels;
  double eps;
} op_layer_norm_t;
typedef struct {
  operand_t source, gradient, target, gamma, gamma_sum, beta_sum;
  int64_t blocks, pixels, channels, add;
  double eps;
} op_layer_norm_gradient_t;
typedef struct {
  operand_t source, target, gamma, beta, scratch;
  int64_t blocks, pixels, channels, group;
  double eps;
} op_group_norm_t;
typedef struct {
  operand_t source, gradient, target, gamma, scratch, gamma_sum, beta_sum;
  int64_t blocks, pixels, channels, group, add;
  double eps;
} op_group_norm_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t blocks, pixels, channels, add;
  double factor, shift;
} op_scale_t;
typedef struct {
  operand_t source, target, draw;
  int64_t blocks, pixels, channels, threshold, whole, add;
  double factor;
} op_dropout_t;
typedef struct {
  operand_t left, right, target;
  int64_t blocks, pixels, add;
} op_multiply_t;
typedef struct {
  operand_t source, gradient, target;
  int64_t blocks, pixels, function, add;
} op_pointwise_gradient_t;
enum {
  OP_CONV = 0,
  OP_WEIGHT_GRADIENT = 1,
  OP_PAIRED_WEIGHT_GRADIENT = 2,
  OP_IMPORT = 3,
  OP_EXPORT = 4,
  OP_COPY = 5,
  OP_ADD = 6,
  OP_ROUND = 7,
  OP_UNPACK = 8,
  OP_FRAME = 9,
  OP_STATISTICS = 10,
  OP_AFFINE = 11,
  OP_NORM_REDUCE = 12,
  OP_APPLY = 13,
  OP_MAX_POOL = 14,
  OP_MAX_POOL_GRADIENT = 15,
  OP_AVG_POOL = 16,
  OP_AVG_POOL_GRADIENT = 17,
  OP_RESIZE = 18,
  OP_RESIZE_GRADIENT = 19,
  OP_GATHER = 20,
  OP_GATHER_GRADIENT = 21,
  OP_JOIN = 22,
  OP_JOIN_GRADIENT = 23,
  OP_DEPTHWISE = 24,
  OP_DEPTHWISE_INPUT_GRADIENT = 25,
  OP_DEPTHWISE_WEIGHT_GRADIENT = 26,
  OP_CHANNELS = 27,
  OP_CHANNELS_GRADIENT = 28,
  OP_POINTWISE = 29,
  OP_HALF = 30,
  OP_PRELU = 31,
  OP_PRELU_GRADIENT = 32,
  OP_LAYER_NORM = 33,
  OP_LAYER_NORM_GRADIENT = 34,
  OP_GROUP_NORM = 35,
  OP_GROUP_NORM_GRADIENT = 36,
  OP_SCALE = 37,
  OP_DROPOUT = 38,
  OP_MULTIPLY = 39,
  OP_POINTWISE_GRADIENT = 40,
  OP_KINDS = 41
};

typedef struct {
  operand_t source, bias, gamma, beta, moving_mean, moving_variance, seen;
} job_unchanged_t;
typedef struct {
  operand_t source, bias, mean, scale, shift, target, target_bias;
  int64_t filters, row;
} job_fold_t;
typedef struct {
  operand_t source, target;
  int64_t floats, round;
} job_reorder_t;
typedef struct {
  operand_t partial, mean, variance;
  int64_t channels, pixels;
} job_statistics_t;
typedef struct {
  operand_t mean, variance, scale, shift, gamma, beta, moving_mean, moving_variance;
  int64_t channels, padded, count;
  double eps, momentum;
} job_norm_t;
typedef struct {
  operand_t mean, variance, scale, shift, gamma, beta, moving_mean, moving_variance;
  int64_t channels, padded;
  double eps;
} job_norm_fixed_t;
typedef struct {
  operand_t partial, variance, scale, gamma, beta, slope, constant;
  int64_t channels, padded, count, add, fixed;
  double eps;
} job_norm_gradient_t;
typedef struct {
  operand_t sum, target;
  int64_t floats;
} job_weight_gradient_t;
typedef struct {
  operand_t source, expanded, target;
  int64_t filters, row, group, count, expanded_row, floats;
} job_grouped_reorder_t;
typedef struct {
  operand_t sum, expanded, target;
  int64_t filters, row, group, count, expanded_row, floats;
} job_grouped_weight_gradient_t;
typedef struct {
  operand_t sum, target;
  int64_t floats, channels, filters, window, lanes;
} job_paired_weight_gradient_t;
typedef struct {
  operand_t sum, target;
  int64_t floats, channels;
} job_bias_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t channels, pixels;
} job_import_t;
typedef struct {
  operand_t sum, target;
  int64_t floats, channels, pixels;
} job_gather_gradient_t;
typedef struct {
  operand_t source, target;
  int64_t number, seed;
} job_draw_t;
enum {
  JOB_UNCHANGED = 100,
  JOB_FOLD = 101,
  JOB_REORDER = 102,
  JOB_STATISTICS = 103,
  JOB_NORM = 104,
  JOB_NORM_FIXED = 105,
  JOB_NORM_GRADIENT = 106,
  JOB_WEIGHT_GRADIENT = 107,
  JOB_GROUPED_REORDER = 108,
  JOB_GROUPED_WEIGHT_GRADIENT = 109,
  JOB_PAIRED_WEIGHT_GRADIENT = 110,
  JOB_BIAS_GRADIENT = 111,
  JOB_IMPORT = 112,
  JOB_GATHER_GRADIENT = 113,
  JOB_DRAW = 114,
  JOB_KINDS = 15
};

/* continues: a job that the thread of the job before it goes on with. */
typedef struct {
  int64_t kind, continues;
  void *handle;
  union {
    op_conv_t op_conv;
    op_weight_gradient_t op_weight_gradient;
    op_paired_weight_gradient_t op_paired_weight_gradient;
    op_import_t op_import;
    op_export_t op_export;
    op_copy_t op_copy;
    op_add_t op_add;
    op_round_t op_round;
    op_unpack_t op_unpack;
    op_frame_t op_frame;
    op_statistics_t op_statistics;
    op_affine_t op_affine;
    op_norm_reduce_t op_norm_reduce;
    op_apply_t op_apply;
    op_max_pool_t op_max_pool;
    op_max_pool_gradient_t op_max_pool_gradient;
    op_avg_pool_t op_avg_pool;
    op_avg_pool_gradient_t op_avg_pool_gradient;
    op_resize_t op_resize;
    op_resize_gradient_t op_resize_gradient;
    op_gather_t op_gather;
    op_gather_gradient_t op_gather_gradient;
    op_join_t op_join;
    op_join_gradient_t op_join_gradient;
    op_depthwise_t op_depthwise;
    op_depthwise_input_gradient_t op_depthwise_input_gradient;
    op_depthwise_weight_gradient_t op_depthwise_weight_gradient;
    op_channels_t op_channels;
    op_channels_gradient_t op_channels_gradient;
    op_pointwise_t op_pointwise;
    op_half_t op_half;
    op_prelu_t op_prelu;
    op_prelu_gradient_t op_prelu_gradient;
    op_layer_norm_t op_layer_norm;
    op_layer_norm_gradient_t op_layer_norm_gradient;
    op_group_norm_t op_group_norm;
    op_group_norm_gradient_t op_group_norm_gradient;
    op_scale_t op_scale;
    op_dropout_t op_dropout;
    op_multiply_t op_multiply;
    op_pointwise_gradient_t op_pointwise_gradient;
    job_unchanged_t job_unchanged;
    job_fold_t job_fold;
    job_reorder_t job_reorder;
    job_statistics_t job_statistics;
    job_norm_t job_norm;
    job_norm_fixed_t job_norm_fixed;
    job_norm_gradient_t job_norm_gradient;
    job_weight_gradient_t job_weight_gradient;
    job_grouped_reorder_t job_grouped_reorder;
    job_grouped_weight_gradient_t job_grouped_weight_gradient;
    job_paired_weight_gradient_t job_paired_weight_gradient;
    job_bias_gradient_t job_bias_gradient;
    job_import_t job_import;
    job_gather_gradient_t job_gather_gradient;
    job_draw_t job_draw;
  };
} op_t;

#define EACH_FLOAT32_OPERATION(X) X(CONV, conv) X(WEIGHT_GRADIENT, weight_gradient) X(IMPORT, import) X(EXPORT, export) X(COPY, copy) X(ADD, add) X(ROUND, round) X(UNPACK, unpack) X(FRAME, frame) X(STATISTICS, statistics) X(AFFINE, affine) X(NORM_REDUCE, norm_reduce) X(APPLY, apply) X(MAX_POOL, max_pool) X(MAX_POOL_GRADIENT, max_pool_gradient) X(AVG_POOL, avg_pool) X(AVG_POOL_GRADIENT, avg_pool_gradient) X(RESIZE, resize) X(RESIZE_GRADIENT, resize_gradient) X(GATHER, gather) X(GATHER_GRADIENT, gather_gradient) X(JOIN, join) X(JOIN_GRADIENT, join_gradient) X(DEPTHWISE, depthwise) X(DEPTHWISE_INPUT_GRADIENT, depthwise_input_gradient) X(DEPTHWISE_WEIGHT_GRADIENT, depthwise_weight_gradient) X(CHANNELS, channels) X(CHANNELS_GRADIENT, channels_gradient) X(POINTWISE, pointwise) X(HALF, half) X(PRELU, prelu) X(PRELU_GRADIENT, prelu_gradient) X(LAYER_NORM, layer_norm) X(LAYER_NORM_GRADIENT, layer_norm_gradient) X(GROUP_NORM, group_norm) X(GROUP_NORM_GRADIENT, group_norm_gradient) X(SCALE, scale) X(DROPOUT, dropout) X(MULTIPLY, multiply) X(POINTWISE_GRADIENT, pointwise_gradient)
#define EACH_BFLOAT16_OPERATION(X) X(CONV, conv) X(WEIGHT_GRADIENT, weight_gradient) X(PAIRED_WEIGHT_GRADIENT, paired_weight_gradient) X(IMPORT, import) X(EXPORT, export) X(COPY, copy) X(ADD, add) X(ROUND, round) X(UNPACK, unpack) X(FRAME, frame) X(STATISTICS, statistics) X(AFFINE, affine) X(NORM_REDUCE, norm_reduce) X(APPLY, apply) X(MAX_POOL, max_pool) X(MAX_POOL_GRADIENT, max_pool_gradient) X(AVG_POOL, avg_pool) X(AVG_POOL_GRADIENT, avg_pool_gradient) X(RESIZE, resize) X(RESIZE_GRADIENT, resize_gradient) X(GATHER, gather) X(GATHER_GRADIENT, gather_gradient) X(JOIN, join) X(JOIN_GRADIENT, join_gradient) X(DEPTHWISE, depthwise) X(DEPTHWISE_INPUT_GRADIENT, depthwise_input_gradient) X(DEPTHWISE_WEIGHT_GRADIENT, depthwise_weight_gradient) X(POINTWISE, pointwise) X(HALF, half) X(PRELU, prelu) X(PRELU_GRADIENT, prelu_gradient) X(DROPOUT, dropout) X(POINTWISE_GRADIENT, pointwise_gradient)

#define TABLE_DIGEST 65545872659801939ll

#endif
