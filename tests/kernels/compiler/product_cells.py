"""Cells that multiply tensors, or tensors and numbers."""

from mindspore import nn, ops
from small_cells import GlobalMean, conv


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


class Branches(nn.Cell):
    """Two convolutions of different windows, weighted by gates that add up to one: what SKNet does."""

    def __init__(self, channels):
        super().__init__()
        self.convs = nn.CellList([conv(channels, channels, 3), conv(channels, channels, 5)])
        self.squeeze, self.excite = conv(channels, 5, 1), conv(5, 2 * channels, 1, has_bias=True)
        self.relu, self.mean, self.softmax = nn.ReLU(), GlobalMean(keep_dims=True), nn.Softmax(axis=1)

    def construct(self, x):
        stack = ops.stack([self.relu(one(x)) for one in self.convs], axis=1)
        gates = self.excite(self.relu(self.squeeze(self.mean(stack.sum(1)))))
        n, c, h, w = gates.shape
        return (stack * self.softmax(gates.reshape((n, 2, c // 2, h, w)))).sum(1)
