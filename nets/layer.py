"""Builds every layer of the four networks, with all of its defaults written out.

MindSpore 2.x has changed, or has announced that it will change, the defaults of Conv2d, Dense, BatchNorm2d,
LeakyReLU, Dropout and TruncatedNormal; here each one is passed. It is also the one place where another
implementation of a layer can be put in: a replacement has to keep the parameter names (`weight`, `bias`;
`gamma`, `beta`, `moving_mean`, `moving_variance`).
"""

import math

from mindspore import nn, ops
from mindspore.common.initializer import HeNormal, HeUniform, Normal, TruncatedNormal, Uniform, XavierUniform


def conv2d(
    in_channels,
    out_channels,
    kernel_size,
    *,
    weight_init,
    stride=1,
    pad_mode="pad",
    padding=0,
    has_bias=False,
):
    """Returns a dense 2-D convolution, NCHW, weight (out, in, k, k), bias 0 where there is one.

    `pad_mode="same"` pads as TensorFlow does: an odd total puts the extra row or column at the bottom and
    right.
    """
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        pad_mode=pad_mode,
        padding=padding,
        dilation=1,
        group=1,
        has_bias=has_bias,
        weight_init=weight_init,
        bias_init="zeros",
        data_format="NCHW",
    )


def batch_norm(channels, *, eps=1e-5, momentum=0.9, gamma_init="ones"):
    """Returns a batch normalisation of (N, C, H, W), beta 0; `momentum` is the share of the OLD moving value.

    The normalisation uses the biased batch variance, the moving variance is updated with the unbiased one.
    """
    return nn.BatchNorm2d(
        channels,
        eps=eps,
        momentum=momentum,
        affine=True,
        gamma_init=gamma_init,
        beta_init="zeros",
        moving_mean_init="zeros",
        moving_var_init="ones",
        use_batch_statistics=None,
        data_format="NCHW",
    )


def dense(in_channels, out_channels, *, weight_init):
    """Returns a fully connected layer, weight (out, in), bias (out) of zeros."""
    return nn.Dense(in_channels, out_channels, weight_init=weight_init, bias_init="zeros", has_bias=True)


def relu():
    """Returns max(x, 0)."""
    return nn.ReLU()


def leaky_relu(alpha):
    """Returns x where x > 0, else `alpha` x."""
    return nn.LeakyReLU(alpha=alpha)


def dropout(p):
    """Returns a dropout: in training an element is 0 with probability `p`, the rest grows by 1/(1-p)."""
    return nn.Dropout(p=p)


def max_pool(kernel_size, stride, *, pad_mode="valid"):
    """Returns a max pool; `same` adds minus infinity at the bottom and right where the size asks for it."""
    return nn.MaxPool2d(kernel_size=kernel_size, stride=stride, pad_mode=pad_mode, padding=0, data_format="NCHW")


def avg_pool(kernel_size, stride):
    """Returns an average pool without padding."""
    return nn.AvgPool2d(kernel_size=kernel_size, stride=stride, pad_mode="valid", padding=0, data_format="NCHW")


class PaddedMaxPool(nn.Cell):
    """Max pool of 3x3, stride 2, padded by one on every side, for inputs that are not negative.

    Zeros stand in for minus infinity: behind a ReLU they change neither the maximum nor, since a ReLU passes
    no gradient where its output is zero, the gradient of what comes before it. (The framework's own padded
    pool is a 3-D pool with indices.)
    """

    def __init__(self):
        super().__init__()
        self.pad = ops.Pad(((0, 0), (0, 0), (1, 1), (1, 1)))  # ops.pad has no ONNX form
        self.pool = max_pool(3, 2, pad_mode="valid")

    def construct(self, x):
        return self.pool(self.pad(x))


class GlobalMean(nn.Cell):
    """Mean over height and width: (N, C, H, W) -> (N, C), or (N, C, 1, 1) with `keep_dims`."""

    def __init__(self, keep_dims=False):
        super().__init__()
        self.mean = ops.ReduceMean(keep_dims=keep_dims)

    def construct(self, x):
        return self.mean(x, (2, 3))


def he_normal_fan_out():
    """Returns the initialiser N(0, 2 / (out k k)) (He et al., 2015), for layers in front of a ReLU."""
    return HeNormal(negative_slope=0, mode="fan_out", nonlinearity="relu")


def he_uniform_fan_in():
    """Returns the initialiser U(-b, b), b = sqrt(6 / fan_in) (He et al., 2015)."""
    return HeUniform(negative_slope=0, mode="fan_in", nonlinearity="relu")


def xavier_uniform():
    """Returns the initialiser U(-b, b), b = sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    return XavierUniform(gain=1)


def normal(sigma):
    """Returns the initialiser N(0, sigma^2)."""
    return Normal(sigma=sigma, mean=0.0)


def truncated_normal(sigma):
    """Returns the initialiser N(0, sigma^2) cut off at two sigma; what is left deviates by 0.8796 sigma.

    The bounds of MindSpore 2.x are absolute numbers (-2 and 2), so its default cuts nothing at small sigma.
    """
    return TruncatedNormal(sigma=sigma, mean=0.0, a=-2.0 * sigma, b=2.0 * sigma)


def uniform_fan_in(fan_in):
    """Returns the initialiser U(-b, b), b = 1 / sqrt(fan_in)."""
    return Uniform(scale=1.0 / math.sqrt(fan_in))
