"""BatchNorm with the statistics of the batches of all ranks together."""

import copy

import mindspore as ms
from mindspore import Tensor, nn, ops

from cellwright.engine.step.precision import wrap_cells


class SumOverRanks(nn.Cell):
    """Returns the sum of a float32 vector over ranks; its gradient is the sum of the gradients over ranks."""

    def __init__(self, allreduce):
        super().__init__(auto_prefix=False)
        self.allreduce = allreduce
        # A cell of its own: one that both passes call leaves the compiler with an empty graph (MindSpore 2.10).
        self.backward = copy.copy(allreduce)

    def construct(self, x):
        return self.allreduce(x)

    def bprop(self, x, out, dout):
        return (self.backward(dout),)


class SyncBatchNorm(nn.Cell):
    """BatchNorm2d over the batches of all ranks; every rank must have as many samples. Takes over a cell's parameters.

    Sums and squares are taken around the moving mean, so that their difference does not cancel.
    """

    def __init__(self, norm, allreduce):
        super().__init__(auto_prefix=False)
        self.moving_mean, self.moving_variance = norm.moving_mean, norm.moving_variance
        self.gamma, self.beta = norm.gamma, norm.beta
        self.eps = norm.eps
        self.momentum = 1.0 - norm.momentum  # nn.BatchNorm2d stores the share of the new value
        self.channels, self.ranks = norm.num_features, allreduce.size
        self.total = SumOverRanks(allreduce)
        self.zero = Tensor(0.0, ms.float32)

    def construct(self, x):
        shape = (1, self.channels, 1, 1)
        mean, variance = self.moving_mean, self.moving_variance
        if self.training:
            around = ops.stop_gradient(mean + 0.0)
            shifted = x - ops.reshape(around, shape)
            sums = self.total(ops.concat((shifted.sum((0, 2, 3)), ops.square(shifted).sum((0, 2, 3)))))
            count = x.size // self.channels * self.ranks
            offset = sums[: self.channels] / count
            # Where the batch hardly varies, rounding would leave a negative number, and its root NaN.
            variance = ops.maximum(sums[self.channels :] / count - ops.square(offset), self.zero)
            mean = around + offset
            unbiased = ops.stop_gradient(variance) * (count / max(count - 1, 1))
            moved = ops.assign(self.moving_mean, self._blend(around, ops.stop_gradient(mean)))
            spread = ops.assign(self.moving_variance, self._blend(self.moving_variance, unbiased))
            x = ops.depend(x, (moved, spread))
        factor = self.gamma * ops.rsqrt(variance + self.eps)
        return (x - ops.reshape(mean, shape)) * ops.reshape(factor, shape) + ops.reshape(self.beta, shape)

    def _blend(self, old, new):
        return self.momentum * old + (1.0 - self.momentum) * new


def synchronise_batch_norm(network: nn.Cell, allreduce) -> nn.Cell:
    """Replaces every nn.BatchNorm2d within a network by one over all ranks, in place, and returns the network.

    Only for networks whose BatchNorms lie on one path (DenseNet121, Tiny-DarkNet, VGG16): on parallel branches, as in
    GENet, two ranks could start their sums in different orders. To be called before the TrainOneStep is made; that
    needs `reduce_after_backward=True`, so that no gradient is summed between two of these sums.
    """
    wrap_cells(network, (nn.BatchNorm2d,), lambda norm: SyncBatchNorm(norm, allreduce).set_train(norm.training))
    return network
