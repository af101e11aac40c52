"""Cells that are not what their names say, or that do what the compiler has to notice."""

from mindspore import nn, ops


def conv(before, after, kernel=3):
    return nn.Conv2d(before, after, kernel, pad_mode="same", weight_init="normal")


class Between(nn.Cell):
    """conv -> something -> conv."""

    def __init__(self, inner):
        super().__init__()
        self.first, self.inner, self.last = conv(3, 16), inner, conv(16, 16)

    def construct(self, x):
        return self.last(self.inner(self.first(x)))


class InTraining(nn.Cell):
    """What DropPath is: something else in training."""

    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU()

    def construct(self, x):
        if self.training:
            return self.relu(x)
        return x


class ReLU(nn.Cell):
    """Somebody's own: clips at 1, too."""

    def construct(self, x):
        return ops.clip(x, 0.0, 1.0)


class Conv2d(nn.Conv2d):
    """Somebody's own: with standardised weights."""

    def construct(self, x):
        return self.conv2d(x, self.weight - self.weight.mean((1, 2, 3), True))


class BatchNorm2d(nn.BatchNorm2d):
    """Somebody's own: scaled."""

    def construct(self, x):
        return 2 * super().construct(x)


class GlobalMean(nn.Cell):
    """Somebody's own: a maximum."""

    def __init__(self):
        super().__init__()
        self.mean = ops.ReduceMean(keep_dims=True)

    def construct(self, x):
        return x.max((2, 3), keepdims=True)


# Settings that are not looked at, and classes that are taken for others.
OTHER_CELLS = {
    "ReLU": ReLU,
    "Conv2d": lambda: Conv2d(16, 16, 3, pad_mode="same"),
    "BatchNorm2d": lambda: BatchNorm2d(16),
    "GlobalMean": GlobalMean,
    "divisor_override": lambda: nn.AvgPool2d(2, 2, divisor_override=3),
    "count_include_pad": lambda: nn.AvgPool2d(3, 2, "pad", 1, count_include_pad=False),
}


class Twins(nn.Cell):
    """Two networks of one structure, as teacher and student are."""

    def __init__(self, first, second):
        super().__init__()
        self.first, self.second = first, second

    def construct(self, x):
        return self.first(x) * self.second(x)
