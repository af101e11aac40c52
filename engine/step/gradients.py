"""The forward and backward half of a step."""

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from cellwright.engine.step.normalise import Normalise


class Gradients(nn.Cell):
    """Returns (loss, gradients of loss * scale) of one micro-batch; gradients are float32, in the order of `params`."""

    def __init__(self, network, loss, params, normalise):
        super().__init__(auto_prefix=False)
        self.network, self.loss = network, loss
        self.normalise = Normalise(*normalise) if normalise is not None else None
        self.value_and_grad = ms.value_and_grad(self.forward, None, weights=ParameterTuple(params), has_aux=True)

    def forward(self, images, labels, weights, scale):
        if self.normalise is not None:
            images = self.normalise(images)
        loss = self.loss(ops.cast(self.network(images), ms.float32), labels, weights)
        return loss * scale, loss

    def construct(self, images, labels, weights, scale):
        (_, loss), gradients = self.value_and_grad(images, labels, weights, scale)
        return loss, gradients


def _zero(parameter):
    return ops.assign(parameter, ops.zeros_like(parameter))


class Accumulator(nn.Cell):
    """The sums of gradients and losses over micro-batches: `construct` adds one, `clear` sets them to zero."""

    def __init__(self, gradients, scale, params):
        super().__init__(auto_prefix=False)
        self.gradients, self.scale = gradients, scale
        self.map = ops.HyperMap()
        self.sums = ParameterTuple(params).clone(prefix="accumulated", init="zeros")
        for parameter in self.sums:
            parameter.requires_grad = False
        self.loss = Parameter(Tensor(0.0, ms.float32), name="accumulated_loss", requires_grad=False)

    @ms.jit
    def construct(self, images, labels, weights):
        loss, gradients = self.gradients(images, labels, weights, self.scale.value)
        self.map(ops.assign_add, self.sums, gradients)
        return ops.assign_add(self.loss, loss) + 0.0

    @ms.jit
    def clear(self):
        self.map(_zero, self.sums)
        return ops.assign(self.loss, ops.zeros_like(self.loss))
