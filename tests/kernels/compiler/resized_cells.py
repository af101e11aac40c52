"""Cells that resize images and cast tensors."""

import mindspore
from mindspore import nn, ops
from small_cells import conv


class Like(nn.Cell):
    """A branch of half the size, brought back to the size of the other one: what HRNet does."""

    def __init__(self, channels):
        super().__init__()
        self.down, self.norm, self.relu = conv(channels, channels, 3, stride=2), nn.BatchNorm2d(channels), nn.ReLU()

    def construct(self, x):
        small = self.relu(self.norm(self.down(x)))
        _, _, height, width = x.shape
        large = ops.ResizeNearestNeighbor((height, width))(ops.cast(small, mindspore.float32))
        exact = ops.interpolate(small, size=(x.shape[2] * 2, x.shape[3]), mode="bilinear")
        return x + large + ops.interpolate(exact, size=x.shape[2:], mode="nearest")


class Casts(nn.Cell):
    """Rounds to float16 on one of two ways."""

    def construct(self, x):
        return 1000.0 * x + ops.cast(x, mindspore.float16)
