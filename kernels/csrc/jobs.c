/* What is done once for all images between two stages: small arrays of one number a channel, and weights. */
#include <math.h>
#include <string.h>

#include "hash32.h"
#include "onednn.h"
#include "program.h"
#include "target_clones.h"

#define ARGUMENTS(kind) const job_##kind##_t *a = &job->job_##kind;
#define POINTER(name) float *name = place(c, &a->name);

/* Another thread's part of an array that each thread has for itself. */
static void *of_thread(const operand_t *operand, const context_t *c, int thread) {
  return c->work + operand->offset + thread * operand->stride;
}

/* Joins the threads' means and squares, in their order. variance: biased. */
static void statistics(const op_t *job, const context_t *c) {
  ARGUMENTS(statistics) POINTER(mean) POINTER(variance)
  int64_t channels = a->channels;
  for (int64_t k = 0; k < channels; k++) {
    double count = 0, average = 0, square = 0;
    for (int t = 0; t < c->threads; t++) {
      double own = (double)((share(c, t + 1) - share(c, t)) * a->pixels), *part = of_thread(&a->partial, c, t);
      double delta = part[k] - average;
      average += delta * own / (count + own);
      square += part[channels + k] + delta * delta * count * own / (count + own);
      count += own;
    }
    mean[k] = (float)average;
    variance[k] = (float)(square / count);
  }
}

/* count: numbers of a channel. momentum: share of the old value. The moving variance is fed with the unbiased one. */
static void norm(const op_t *job, const context_t *c) {
  ARGUMENTS(norm) POINTER(mean) POINTER(variance) POINTER(scale) POINTER(shift) POINTER(gamma) POINTER(beta)
  POINTER(moving_mean) POINTER(moving_variance)
  double count = (double)a->count, unbiased = count > 1 ? count / (count - 1) : 1, momentum = a->momentum;
  for (int64_t k = 0; k < a->padded; k++) {
    int real = k < a->channels;
    scale[k] = real ? (float)(gamma[k] / sqrt(variance[k] + a->eps)) : 0;
    shift[k] = real ? beta[k] : 0;
    if (!real || !moving_mean) continue;
    moving_mean[k] = (float)(momentum * moving_mean[k] + (1 - momentum) * mean[k]);
    moving_variance[k] = (float)(momentum * moving_variance[k] + (1 - momentum) * variance[k] * unbiased);
  }
}

/* By the moving statistics, of which mean and variance become copies. */
static void norm_fixed(const op_t *job, const context_t *c) {
  ARGUMENTS(norm_fixed) POINTER(mean) POINTER(variance) POINTER(scale) POINTER(shift) POINTER(gamma) POINTER(beta)
  POINTER(moving_mean) POINTER(moving_variance)
  for (int64_t k = 0; k < a->padded; k++) {
    int real = k < a->channels;
    mean[k] = real ? moving_mean[k] : 0;
    if (variance) variance[k] = real ? moving_variance[k] : 1;
    scale[k] = real ? (float)(gamma[k] / sqrt(moving_variance[k] + a->eps)) : 0;
    shift[k] = real ? beta[k] : 0;
  }
}

/* count: numbers of a channel. add: to slope and constant. The gradient of y is scale d + slope (y - mean) + constant, without
 * the last two if the statistics are fixed. */
static void norm_gradient(const op_t *job, const context_t *c) {
  ARGUMENTS(norm_gradient) POINTER(variance) POINTER(scale) POINTER(gamma) POINTER(beta) POINTER(slope) POINTER(constant)
  int64_t padded = a->padded;
  double count = (double)a->count;
  for (int64_t k = 0; k < padded; k++) {
    double sum = 0, product = 0, inverse = 1 / (variance[k] + a->eps);
    for (int t = 0; t < c->threads; t++) {
      double *part = of_thread(&a->partial, c, t);
      sum += part[k], product += part[padded + k];
    }
    if (gamma && k < a->channels) gamma[k] = (float)(product * sqrt(inverse));
    if (beta && k < a->channels) beta[k] = (float)sum;
    if (a->fixed) continue;
    float own_slope = (float)(-scale[k] * inverse * product / count), own_constant = (float)(-scale[k] * sum / count);
    slope[k] = a->add ? slope[k] + own_slope : own_slope;
    constant[k] = a->add ? constant[k] + own_constant : own_constant;
  }
}

/* Adds up the threads' floats into the first thread's. */
static float *sum_threads(const operand_t *operand, const context_t *c, int64_t floats) {
  float *sum = of_thread(operand, c, 0);
  for (int t = 1; t < c->threads; t++) {
    float *part = of_thread(operand, c, t);
    for (int64_t k = 0; k < floats; k++) sum[k] += part[k];
  }
  return sum;
}

static int weight_gradient(const op_t *job, const context_t *c) {
  ARGUMENTS(weight_gradient)
  return reorder_run(job->handle, c->runner, sum_threads(&a->sum, c, a->floats), place(c, &a->target));
}

/* `count` groups run as one, or channels are added: a filter's row of weights is `expanded_row` numbers long instead of `row`, with
 * zeros but for its own group's. */
static int grouped_reorder(const op_t *job, const context_t *c) {
  ARGUMENTS(grouped_reorder) POINTER(source) POINTER(expanded)
  int64_t row = a->row;
  memset(expanded, 0, a->filters * a->expanded_row * sizeof(float));
  for (int64_t k = 0; k < a->filters; k++)
    memcpy(expanded + k * a->expanded_row + k / a->group % a->count * row, source + k * row, row * sizeof(float));
  return reorder_run(job->handle, c->runner, expanded, place(c, &a->target));
}

static int grouped_weight_gradient(const op_t *job, const context_t *c) {
  ARGUMENTS(grouped_weight_gradient) POINTER(expanded) POINTER(target)
  int64_t row = a->row;
  int code = reorder_run(job->handle, c->runner, sum_threads(&a->sum, c, a->floats), expanded);
  for (int64_t k = 0; k < a->filters && !code; k++)
    memcpy(target + k * row, expanded + k * a->expanded_row + k / a->group % a->count * row, row * sizeof(float));
  return code;
}

/* From blocks of channels and filters to (filters, channels, window). */
static void paired_weight_gradient(const op_t *job, const context_t *c) {
  ARGUMENTS(paired_weight_gradient) POINTER(target)
  const float *sum = sum_threads(&a->sum, c, a->floats);
  int64_t lanes = a->lanes, blocks = (a->channels + lanes - 1) / lanes;
  for (int64_t f = 0; f < a->filters; f++)
    for (int64_t k = 0; k < a->channels; k++) {
      const float *own = sum + ((f / lanes * blocks + k / lanes) * a->window * lanes + k % lanes) * lanes + f % lanes;
      for (int64_t w = 0; w < a->window; w++) *target++ = own[w * lanes * lanes];
    }
}

static void bias_gradient(const op_t *job, const context_t *c) {
  ARGUMENTS(bias_gradient)
  memcpy(place(c, &a->target), sum_threads(&a->sum, c, a->floats), a->channels * sizeof(float));
}

/* An operation of the table on one image. */
static int as_operation(op_t *op, const context_t *c, const operation_t *operations) {
  context_t one = *c;
  one.n = 1;
  return operations[op->kind](op, &one);
}

/* The word of one dropout for this run: of whoever trains, or where there is no source of a count of all runs. */
static void draw(const op_t *job, const context_t *c) {
  ARGUMENTS(draw) POINTER(source) POINTER(target)
  uint32_t word = c->turn;
  word = hash32_of(word) + (uint32_t)a->seed;
  if (source) memcpy(&word, source + a->number, sizeof word);
  word = hash32_of(word);
  memcpy(target, &word, sizeof word);
}

/* round: to numbers that bfloat16 has, to be multiplied as float32. */
static int reorder(const op_t *job, const context_t *c, const operation_t *operations) {
  ARGUMENTS(reorder)
  op_t op = {.kind = OP_ROUND, .op_round = {a->target, a->target, a->floats, FORM_WIDE}};
  int code = reorder_run(job->handle, c->runner, place(c, &a->source), place(c, &a->target));
  return code || !a->round ? code : as_operation(&op, c, operations);
}

static int import(const op_t *job, const context_t *c, const operation_t *operations) {
  ARGUMENTS(import)
  op_t op = {.kind = OP_IMPORT, .op_import = {a->source, a->target, a->channels, a->pixels, FORM_WIDE}};
  return as_operation(&op, c, operations);
}

static int gather_gradient(const op_t *job, const context_t *c, const operation_t *operations) {
  ARGUMENTS(gather_gradient)
  op_t op = {.kind = OP_EXPORT, .op_export = {a->sum, a->target, a->channels, a->pixels, FORM_WIDE}};
  sum_threads(&a->sum, c, a->floats);
  return as_operation(&op, c, operations);
}

/* A norm by moving statistics goes into the convolution before it: each filter times its scale, and what the bias becomes. */
static void fold(const op_t *job, const context_t *c) {
  ARGUMENTS(fold) POINTER(source) POINTER(bias) POINTER(mean) POINTER(scale) POINTER(shift) POINTER(target)
  POINTER(target_bias)
  for (int64_t k = 0; k < a->filters; k++) {
    for (int64_t j = k * a->row; j < (k + 1) * a->row; j++) target[j] = source[j] * scale[k];
    target_bias[k] = (float)(shift[k] + ((bias ? bias[k] : 0) - (double)mean[k]) * scale[k]);
  }
}

/* Done with the chain if its tensors hold what they held when `seen` was written. Of each of 32 rows of a tensor's numbers a digest
 * of 64 bits: one number that changes in a row always changes it, several leave it as it was once in 2^64 times. */
typedef uint64_t digest_t __attribute__((vector_size(64)));
#define DIGESTS 4

TARGET_CLONES("avx512f", "avx2")
static void add_digest(const char *source, int64_t bytes, digest_t *found) {
  int64_t row = 0;
  digest_t now;
  for (; row + DIGESTS * (int64_t)sizeof now <= bytes; row += DIGESTS * sizeof now)
    for (int k = 0; k < DIGESTS; k++) {
      memcpy(&now, source + row + k * sizeof now, sizeof now);
      found[k] = (found[k] ^ now) * 0x2545f4914f6cdd1dull;
    }
  for (int k = 0; row < bytes; row += sizeof now, k++) {
    now = (digest_t){};
    memcpy(&now, source + row, bytes - row < (int64_t)sizeof now ? bytes - row : (int64_t)sizeof now);
    found[k] = (found[k] ^ now) * 0x2545f4914f6cdd1dull;
  }
}

static int unchanged(const op_t *job, const context_t *c) {
  ARGUMENTS(unchanged)
  const operand_t *tensors[] = {&a->source, &a->bias, &a->gamma, &a->beta, &a->moving_mean, &a->moving_variance};
  digest_t found[DIGESTS], *seen = (digest_t *)place(c, &a->seen);
  for (int k = 0; k < DIGESTS; k++) found[k] = (digest_t){} + 0x9e3779b97f4a7c15ull;
  for (int k = 0; k < 6; k++)
    if (tensors[k]->base >= 0)
      add_digest((const char *)place(c, tensors[k]), c->sizes[tensors[k]->base] * (int64_t)sizeof(float), found);
  if (!memcmp(seen, found, sizeof found)) return CHAIN_DONE;
  memcpy(seen, found, sizeof found);
  return 0;
}

int run_job(const op_t *job, const context_t *c, const operation_t *operations) {
  switch (job->kind) {
    case JOB_UNCHANGED: return unchanged(job, c);
    case JOB_FOLD: fold(job, c); return 0;
    case JOB_REORDER: return reorder(job, c, operations);
    case JOB_STATISTICS: statistics(job, c); return 0;
    case JOB_NORM: norm(job, c); return 0;
    case JOB_NORM_FIXED: norm_fixed(job, c); return 0;
    case JOB_NORM_GRADIENT: norm_gradient(job, c); return 0;
    case JOB_PAIRED_WEIGHT_GRADIENT: paired_weight_gradient(job, c); return 0;
    case JOB_WEIGHT_GRADIENT: return weight_gradient(job, c);
    case JOB_GROUPED_REORDER: return grouped_reorder(job, c);
    case JOB_GROUPED_WEIGHT_GRADIENT: return grouped_weight_gradient(job, c);
    case JOB_BIAS_GRADIENT: bias_gradient(job, c); return 0;
    case JOB_IMPORT: return import(job, c, operations);
    case JOB_DRAW: draw(job, c); return 0;
    case JOB_GATHER_GRADIENT: return gather_gradient(job, c, operations);
    default: return ERROR_UNKNOWN_KIND;
  }
}
