"""What fuzzed networks are made of, beside the framework's cells and those of ../compiler."""

import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from cellwright.engine.step.dropout import ResumableDropout


class Factors(nn.Cell):
    def __init__(self, channels):
        super().__init__()
        self.factors = Parameter(Tensor(np.ones(channels, np.float32)), name="factors")
        self.expand_dims = ops.ExpandDims()

    def construct(self, x):
        return self.expand_dims(self.expand_dims(self.factors, -1), -1) * x


def freeze(cell):
    for parameter in cell.get_parameters():
        parameter.requires_grad = False


def dropout(p, word):
    draws = Parameter(Tensor(np.array([0, word], np.int32)), name=f"draws{abs(word)}", requires_grad=False)
    return ResumableDropout(p, draws, 1)


def shuffle(x, groups):
    n, c, h, w = x.shape
    return x.reshape((n, groups, c // groups, h, w)).transpose((0, 2, 1, 3, 4)).reshape((n, c, h, w))
