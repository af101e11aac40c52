"""Cells with norms of pixels or groups, as ConvNeXt and PoolFormer have them."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops
from small_cells import conv


class ChannelNorm(nn.LayerNorm):
    """Of (N, C, H, W) over the channels."""

    def construct(self, x):
        y, _, _ = self.layer_norm(ops.transpose(x, (0, 2, 3, 1)), self.gamma, self.beta)
        return ops.transpose(y, (0, 3, 1, 2))


class LastAxis(nn.Cell):
    """A block whose axes are (N, H, W, C) between two transpositions."""

    def __init__(self, channels):
        super().__init__()
        self.conv = conv(channels, channels, 7, group=channels, has_bias=True)
        self.norm, self.act = nn.LayerNorm((channels,), epsilon=1e-6), nn.GELU()
        self.wide, self.narrow = nn.Dense(channels, 4 * channels), nn.Dense(4 * channels, channels)
        self.factors = Parameter(Tensor(np.full(channels, 0.5, np.float32)), name="factors")

    def construct(self, x):
        y = ops.transpose(self.conv(x), (0, 2, 3, 1))
        y = self.factors * self.narrow(self.act(self.wide(self.norm(y))))
        return x + ops.transpose(y, (0, 3, 1, 2))


class Scaled(nn.Cell):
    """A pool without half of what it pools, times a parameter."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.pool = nn.GroupNorm(1, channels), nn.AvgPool2d(3, stride=1, pad_mode="same")
        self.factors = Parameter(Tensor(np.full(channels, 0.5, np.float32)), name="factors")
        self.expand_dims = ops.ExpandDims()

    def construct(self, x):
        y = self.norm(x)
        return x + self.expand_dims(self.expand_dims(self.factors, -1), -1) * (self.pool(y) - 0.5 * y)
