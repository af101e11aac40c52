"""How much a batch counts against other micro-batches and other ranks."""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from cellwright.engine.step.compilations import compile_in_turn
from cellwright.engine.step.nested_batch import samples


class SumOfOne(nn.Cell):
    """The sum over ranks of one number, as a graph of its own."""

    def __init__(self, allreduce):
        super().__init__(auto_prefix=False)
        self.allreduce = allreduce

    @ms.jit
    def construct(self, x):
        return self.allreduce(x)


class Shares:
    """`shares(batch, count)` -> what a batch counts, a float, in a unit that all ranks have in common.

    The unit is a power of two near the length of the first batch: gradients keep the range that they have alone, and a
    resumed run has the same bits. by_weights: the batch is (images, labels, weights), and counts the sum of its
    weights; else it counts its length. count: function of a batch in place of either. Collective at the first call.
    """

    def __init__(self, allreduce, count, by_weights):
        self.allreduce, self.count, self.by_weights = allreduce, count, by_weights
        self.unit, self.in_turn = None, None

    def __call__(self, batch, count=None):
        if self.unit is None:
            self.unit = self._common_unit(samples(batch))
        if count is None and self.count is not None:
            count = self.count(*batch)
        if count is None and self.by_weights:
            weights = batch[2].asnumpy() if isinstance(batch[2], Tensor) else batch[2]
            count = np.sum(weights, dtype=np.float64)
        return float(samples(batch) if count is None else count) / self.unit

    def _common_unit(self, length):
        if self.allreduce is not None and self.allreduce.size > 1:
            graph, length = SumOfOne(self.allreduce), Tensor([float(length)], ms.float32)
            compile_in_turn(self.in_turn, graph, length)
            length = float(graph(length).asnumpy()[0]) / self.allreduce.size
        return 2.0 ** round(math.log2(max(length, 1)))
