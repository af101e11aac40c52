"""Cells for the tests of nodes that work on all parameters."""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from cellwright.kernels.nodes.optimizer import AdamWStep, AllFinite, MomentumStep

SHAPES = ((3,), (40000,), (5, 7, 2), (1, 33000), ())


def parameters():
    draw = np.random.default_rng(0)
    values = [draw.normal(size=shape).astype(np.float32) for shape in SHAPES]
    return ParameterTuple([Parameter(Tensor(value), name=f"p{k}") for k, value in enumerate(values)])


class MomentumCell(nn.Cell):
    def __init__(self, decays, rates, nesterov):
        super().__init__()
        self.parameters = parameters()
        self.moments = self.parameters.clone(prefix="moments", init="zeros")
        self.step = MomentumStep(0.9, decays, rates, nesterov)

    def construct(self, gradients, lr, factor, updates):
        return self.step(self.parameters, self.moments, gradients, lr, factor)


class AdamWCell(nn.Cell):
    def __init__(self, decays, rates, inside):
        super().__init__()
        self.parameters = parameters()
        self.moments = self.parameters.clone(prefix="moments", init="zeros")
        self.squares = self.parameters.clone(prefix="squares", init="zeros")
        self.step = AdamWStep(0.9, 0.999, 1e-3, inside, decays, rates)

    def construct(self, gradients, lr, factor, updates):
        return self.step(self.parameters, self.moments, self.squares, gradients, lr, factor, updates)


class Finite(nn.Cell):
    def __init__(self):
        super().__init__()
        self.finite = AllFinite()

    def construct(self, *tensors):
        return self.finite(tensors)


class Sums(nn.Cell):
    def __init__(self, allreduce):
        super().__init__()
        self.allreduce = allreduce

    def construct(self, *tensors):
        return self.allreduce(*tensors)


class LateSums(nn.Cell):
    """The sums of tensors that are all on their way before one is waited for, while the graph computes something
    else.
    """

    def __init__(self, allreduce):
        super().__init__()
        self.allreduce = allreduce

    def construct(self, a, b, c):
        first = self.allreduce.start(a)
        second = self.allreduce.start(ops.depend(b, first))
        meanwhile = ops.matmul(c, c)
        third = self.allreduce.start(ops.depend(meanwhile, second))
        return self.allreduce.wait((first, second, third), (a, b, meanwhile))


class Buckets(nn.Cell):
    """Gradients through the flat buckets of a step and back to their parameters."""

    def __init__(self, reduce):
        super().__init__()
        self.reduce = reduce

    def construct(self, gradients, numbers):
        return self.reduce.split(self.reduce(gradients, numbers))
