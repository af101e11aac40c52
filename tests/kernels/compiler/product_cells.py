"""Cells that multiply tensors, or tensors and numbers."""

from mindspore import nn, ops


class Product(nn.Cell):
    """Of two tensors that are one another's gates for each pixel."""

    def __init__(self):
        super().__init__()
        self.relu, self.sigmoid = nn.ReLU(), nn.Sigmoid()

    def construct(self, x):
        return self.relu(x) * ops.tanh(x) + ops.mul(self.sigmoid(x), x * x)


class Swish(nn.Cell):
    def __init__(self):
        super().__init__()
        self.sigmoid = nn.Sigmoid()

    def construct(self, x):
        return x * self.sigmoid(x)


class Numbers(nn.Cell):
    """Tensors with numbers, of which some do nothing."""

    def construct(self, x):
        y = 0 + 1.0 * x
        return ops.relu6(y + 3.0) / 6.0 - 0.5 * x + (2 - y)
