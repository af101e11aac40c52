"""Cells for the tests of nodes that work on all parameters."""

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from cellwright.kernels.nodes.optimizer import AllFinite, MomentumStep

SHAPES = ((3,), (40000,), (5, 7, 2), (1, 33000), ())


class Optimizer(nn.Cell):
    def __init__(self, decayed, nesterov):
        super().__init__()
        draw = np.random.default_rng(0)
        self.parameters = ParameterTuple(
            [
                Parameter(Tensor(draw.normal(size=shape).astype(np.float32)), name=f"p{k}")
                for k, shape in enumerate(SHAPES)
            ]
        )
        self.moments = self.parameters.clone(prefix="moments", init="zeros")
        self.step = MomentumStep(0.9, 0.01, decayed, nesterov)

    def construct(self, gradients, lr, factor):
        return self.step(self.parameters, self.moments, gradients, lr, factor)


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
    """The sums of tensors that are all on their way before one is waited for, while the graph computes something else."""

    def __init__(self, allreduce):
        super().__init__()
        self.allreduce = allreduce

    def construct(self, a, b, c):
        first = self.allreduce.start(a)
        second = self.allreduce.start(ops.depend(b, first))
        meanwhile = ops.matmul(c, c)
        third = self.allreduce.start(ops.depend(meanwhile, second))
        return self.allreduce.wait((first, second, third), (a, b, meanwhile))
