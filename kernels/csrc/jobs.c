/* What is done once for all images between two stages: small arrays of one number a channel, and weights. */
#include <math.h>
#include <string.h>

#include "onednn.h"
#include "program.h"

#define R(k) place(c, &job->r[k])

/* The per-thread array r[k] of another thread. */
static double *of_thread(const op_t *job, const context_t *c, int k, int thread) {
  return (double *)(c->work + job->r[k].offset + thread * job->r[k].stride);
}

/* Joins the threads' means and squares, in their order. r: partial, mean, variance (biased). i: padded channels, H W. */
static void statistics(const op_t *job, const context_t *c) {
  float *mean = R(1), *variance = R(2);
  int64_t channels = job->i[0], hw = job->i[1];
  for (int64_t k = 0; k < channels; k++) {
    double count = 0, average = 0, square = 0;
    for (int t = 0; t < c->threads; t++) {
      double own = (double)((share(c, t + 1) - share(c, t)) * hw), *part = of_thread(job, c, 0, t);
      double delta = part[k] - average;
      average += delta * own / (count + own);
      square += part[channels + k] + delta * delta * count * own / (count + own);
      count += own;
    }
    mean[k] = (float)average;
    variance[k] = (float)(square / count);
  }
}

/* r: mean, variance, scale, shift, gamma, beta, moving mean, moving variance. i: channels, padded channels, numbers of a
 * channel. f: eps, momentum (share of the old value). The moving variance is fed with the unbiased one. */
static void norm(const op_t *job, const context_t *c) {
  float *mean = R(0), *variance = R(1), *scale = R(2), *shift = R(3), *gamma = R(4), *beta = R(5);
  float *moving_mean = R(6), *moving_variance = R(7);
  double count = (double)job->i[2], unbiased = count > 1 ? count / (count - 1) : 1, momentum = job->f[1];
  for (int64_t k = 0; k < job->i[1]; k++) {
    int real = k < job->i[0];
    scale[k] = real ? (float)(gamma[k] / sqrt(variance[k] + job->f[0])) : 0;
    shift[k] = real ? beta[k] : 0;
    if (!real || !moving_mean) continue;
    moving_mean[k] = (float)(momentum * moving_mean[k] + (1 - momentum) * mean[k]);
    moving_variance[k] = (float)(momentum * moving_variance[k] + (1 - momentum) * variance[k] * unbiased);
  }
}

/* Evaluation: as norm, with r[0] a copy of the moving mean. */
static void norm_fixed(const op_t *job, const context_t *c) {
  float *mean = R(0), *scale = R(2), *shift = R(3), *gamma = R(4), *beta = R(5), *moving_mean = R(6);
  float *moving_variance = R(7);
  for (int64_t k = 0; k < job->i[1]; k++) {
    int real = k < job->i[0];
    mean[k] = real ? moving_mean[k] : 0;
    scale[k] = real ? (float)(gamma[k] / sqrt(moving_variance[k] + job->f[0])) : 0;
    shift[k] = real ? beta[k] : 0;
  }
}

/* r: partial sums, variance, scale, gamma gradient, beta gradient, slope, constant. i: channels, padded channels, numbers of a
 * channel, add to slope and constant. The gradient of y is scale d + slope (y - mean) + constant. */
static void norm_gradient(const op_t *job, const context_t *c) {
  float *variance = R(1), *scale = R(2), *gamma = R(3), *beta = R(4), *slope = R(5), *constant = R(6);
  int64_t padded = job->i[1];
  double count = (double)job->i[2];
  for (int64_t k = 0; k < padded; k++) {
    double sum = 0, product = 0, inverse = 1 / (variance[k] + job->f[0]);
    for (int t = 0; t < c->threads; t++) {
      double *part = of_thread(job, c, 0, t);
      sum += part[k], product += part[padded + k];
    }
    if (gamma && k < job->i[0]) gamma[k] = (float)(product * sqrt(inverse)), beta[k] = (float)sum;
    float own_slope = (float)(-scale[k] * inverse * product / count), own_constant = (float)(-scale[k] * sum / count);
    slope[k] = job->i[3] ? slope[k] + own_slope : own_slope;
    constant[k] = job->i[3] ? constant[k] + own_constant : own_constant;
  }
}

/* Adds up the threads' floats in r[0], i[0] of them, into the first thread's. */
static float *sum_threads(const op_t *job, const context_t *c) {
  float *sum = (float *)of_thread(job, c, 0, 0);
  for (int t = 1; t < c->threads; t++) {
    float *part = (float *)of_thread(job, c, 0, t);
    for (int64_t k = 0; k < job->i[0]; k++) sum[k] += part[k];
  }
  return sum;
}

int run_job(const op_t *job, const context_t *c, int lanes) {
  const operation_t *operations = lanes == 16 ? operations16 : operations8;
  context_t one = *c;
  one.n = 1;
  switch (job->kind) {
    case JOB_REORDER: return reorder_run(job->handle, c->thread, R(0), R(1));
    case JOB_STATISTICS: statistics(job, c); return 0;
    case JOB_NORM: norm(job, c); return 0;
    case JOB_NORM_FIXED: norm_fixed(job, c); return 0;
    case JOB_NORM_GRADIENT: norm_gradient(job, c); return 0;
    case JOB_WEIGHT_GRADIENT: return reorder_run(job->handle, c->thread, sum_threads(job, c), R(1));
    case JOB_BIAS_GRADIENT: memcpy(R(1), sum_threads(job, c), job->i[1] * sizeof(float)); return 0;
    case JOB_IMPORT: return operations[OP_IMPORT](job, &one);
    case JOB_GATHER_GRADIENT: {
      op_t out = {.kind = OP_EXPORT, .r = {job->r[0], job->r[1]}, .i = {job->i[1], job->i[2]}};
      sum_threads(job, c);
      one.thread = 0;
      return operations[OP_EXPORT](&out, &one);
    }
    default: return 74;
  }
}
