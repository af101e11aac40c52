"""Momentum SGD, with the learning rate as an input of the graph and weight decay by parameter name."""

import mindspore as ms
from mindspore import ParameterTuple, Tensor, nn, ops


def decayed_by_default(name):
    """Returns whether weight decay acts on a parameter of this name if the user does not say: not on biases and norms."""
    return not name.endswith((".bias", ".gamma", ".beta"))


class Momentum(nn.Cell):
    """SGD with momentum, as the recipes use it: g' = g + wd * p; v = m * v + g'; p = p - lr * v.

    With nesterov: p = p - lr * (g' + m * v). Moments start at zero and are named `moments.<parameter>`.

    params: the parameters that are trained. weight_decay acts where `decays(name)` is True (by default everywhere but
    on biases and on BatchNorm's gamma and beta). `construct(gradients, lr, factor)`: gradients in the order of params,
    to be multiplied by factor first; lr and factor float32 scalar tensors.

    kernel: None for stock operators, or a function (momentum, weight_decay, decayed, nesterov) -> a cell that does the
    whole update at once, `cell(params, moments, gradients, lr, factor)`.
    """

    def __init__(self, params, momentum=0.9, weight_decay=0.0, decays=None, nesterov=False, kernel=None):
        super().__init__(auto_prefix=False)
        self.params = ParameterTuple(params)
        if len(self.params) == 0:
            raise ValueError("params is empty: the optimizer needs at least one parameter")
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum = {momentum}: must be in [0, 1)")
        if weight_decay < 0.0:
            raise ValueError(f"weight_decay = {weight_decay}: must be >= 0")
        if nesterov and momentum == 0.0:
            raise ValueError("nesterov = True: needs momentum > 0")
        decays = decays or decayed_by_default
        self.decayed = tuple(bool(decays(p.name)) and weight_decay > 0.0 for p in self.params)
        self.weight_decay = float(weight_decay)
        self.moments = self.params.clone(prefix="moments", init="zeros")
        for moment in self.moments:
            moment.requires_grad = False
        self.momentum = Tensor(momentum, ms.float32)
        self.map = ops.HyperMap()
        self.nesterov = nesterov
        self.kernel = kernel(momentum, weight_decay, self.decayed, nesterov) if kernel is not None else None
        self.apply = ops.ApplyMomentum()

    def construct(self, gradients, lr, factor):
        if self.kernel is not None:
            return self.kernel(self.params, self.moments, gradients, lr, factor)
        return self.map(ops.partial(self.move, lr, factor), self.params, self.moments, gradients, self.decayed)

    def move(self, lr, factor, parameter, moment, gradient, decayed):
        """Updates one parameter and its moment."""
        gradient = gradient * factor
        if decayed:
            gradient = self.decayed_gradient(gradient, parameter)
        if self.nesterov:
            # By hand: on CPU ApplyMomentum takes use_nesterov=True and leaves it out (MindSpore 2.10).
            moment = ops.depend(moment, ops.assign(moment, self.momentum * moment + gradient))
            return ops.assign_sub(parameter, lr * (gradient + self.momentum * moment))
        return self.apply(parameter, moment, lr, gradient, self.momentum)

    def decayed_gradient(self, gradient, parameter):
        """Returns the gradient of a parameter on which weight decay acts."""
        return gradient + self.weight_decay * parameter
