"""The forward and backward half of a step."""

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops


class Gradients(nn.Cell):
    """Returns (loss, aux, gradients of loss * factor) of a batch.

    forward: a cell, batch -> (scalar loss, aux). params: what is differentiated; the gradients come in their order.
    batch: a tuple; factor: a float32 scalar. The loss comes as it is, without the factor.
    """

    def __init__(self, forward, params):
        super().__init__(auto_prefix=False)
        self.forward = forward
        self.value_and_grad = ms.value_and_grad(self.scaled, None, weights=ParameterTuple(params), has_aux=True)

    def scaled(self, batch, factor):
        loss, aux = self.forward(*batch)
        return loss * factor, loss, aux

    def construct(self, batch, factor):
        (_, loss, aux), gradients = self.value_and_grad(batch, factor)
        return loss, aux, gradients


class GradientGraph(nn.Cell):
    """Gradients as a graph of its own: `construct(batch, factor)` -> (loss, gradients). Nothing is updated."""

    def __init__(self, forward, params):
        super().__init__(auto_prefix=False)
        self.gradients = Gradients(forward, params)

    @ms.jit
    def construct(self, batch, factor):
        loss, _, gradients = self.gradients(batch, factor)
        return loss, gradients


def _zero(parameter):
    return ops.assign(parameter, ops.zeros_like(parameter))


class Accumulator(nn.Cell):
    """The sums of gradients, losses and shares over micro-batches.

    `clear()` sets them to zero and begins a step; `construct(batch, micro, share)` adds micro-batch number `micro`,
    whose gradient and loss count `share` times, and returns (loss, aux) of it alone.
    """

    def __init__(self, gradients, begin, scale, params):
        super().__init__(auto_prefix=False)
        self.gradients, self.begin, self.scale = gradients, begin, scale
        self.map = ops.HyperMap()
        self.sums = ParameterTuple(params).clone(prefix="accumulated", init="zeros")
        for parameter in self.sums:
            parameter.requires_grad = False
        self.loss = Parameter(Tensor(0.0, ms.float32), name="accumulated_loss", requires_grad=False)
        self.shares = Parameter(Tensor(0.0, ms.float32), name="accumulated_shares", requires_grad=False)

    @ms.jit
    def construct(self, batch, micro, share):
        batch = ops.depend(batch, self.begin.draw(micro))
        loss, aux, gradients = self.gradients(batch, self.scale.value * share)
        self.map(ops.assign_add, self.sums, gradients)
        ops.assign_add(self.shares, share)
        return ops.assign_add(self.loss, loss * share) + 0.0, aux

    @ms.jit
    def clear(self):
        self.map(_zero, self.sums)
        ops.assign(self.shares, ops.zeros_like(self.shares))
        ops.assign(self.loss, ops.zeros_like(self.loss))
        return self.begin.keep()
