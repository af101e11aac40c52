"""Kernels of a reader's own, as docs/kernels.md shows them."""

import numpy as np
from mindspore import nn

from cellwright.kernels.nodes import GraphKernel


def swish(x, y):
    for k in range(x.size):
        y[k] = x[k] / (1 + np.exp(-x[k]))


def swish_gradient(x, y, dy, dx):
    for k in range(x.size):
        s = 1 / (1 + np.exp(-x[k]))
        dx[k] = dy[k] * (s + y[k] * (1 - s))


class Swish(nn.Cell):
    """x / (1 + exp(-x)) in one pass, and its gradient in another, on all threads."""

    def __init__(self):
        super().__init__()
        self.kernel = GraphKernel("float32[...] -> float32[...]", swish, gradient=swish_gradient, split=True)

    def construct(self, x):
        return self.kernel(x)


def weighted_rows(x, weights, sums, product):
    for row in range(x.shape[0]):
        sums[row] = 0
        for column in range(x.shape[1]):
            product[row, column] = x[row, column] * weights[row]
            sums[row] += product[row, column]


class WeightedRows(nn.Cell):
    def __init__(self):
        super().__init__()
        self.kernel = GraphKernel(
            "float32[:,:], int32[:] -> float32[:], float32[:,:]",
            weighted_rows,
            shape=lambda x, weights: [[x[0]], x],
            split=True,
        )

    def construct(self, x, weights):
        return self.kernel(x, weights)


class Total(nn.Cell):
    def __init__(self):
        super().__init__()
        self.rows = WeightedRows()

    def construct(self, x, weights):
        return self.rows(x, weights)[0].sum()
