"""Momentum SGD, with the learning rate as an input of the graph and weight decay by parameter name."""

from collections.abc import Callable, Sequence

import mindspore as ms
from mindspore import Tensor, ops

from cellwright.engine.step.optimizer import Optimizer
from cellwright.engine.step.parameter_groups import ParameterGroup


class Momentum(Optimizer):
    """SGD with momentum, as the recipes use it: g' = g + wd * p; v = m * v + g'; p = p - lr * v.

    With nesterov: p = p - lr * (g' + m * v). Moments start at zero and are named `moments.<parameter>`.

    params, weight_decay, decays, groups, shard: see Optimizer. `construct(gradients, lr, factor)`: gradients in the
    order of params, to be multiplied by factor first; lr and factor float32 scalar tensors.

    kernel: None for stock operators, or `kernels.nodes.MomentumStep`, which does the whole update in one node.

    Raises ValueError for numbers out of range, an empty list and a frozen parameter.
    """

    def __init__(
        self,
        params,
        momentum: float = 0.9,
        weight_decay: float | Callable[[str], float] = 0.0,
        decays: Callable[[str], bool] | None = None,
        nesterov: bool = False,
        kernel=None,
        groups: Sequence[ParameterGroup] = (),
        lr: float | None = None,
        shard=None,
    ):
        super().__init__(params, weight_decay, decays, groups, lr, kernel, shard)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum = {momentum}: must be in [0, 1)")
        if nesterov and momentum == 0.0:
            raise ValueError("nesterov = True: needs momentum > 0")
        self.settings |= {"momentum": momentum, "nesterov": nesterov}
        self.moments = self.copies("moments")
        self.momentum = Tensor(momentum, ms.float32)
        self.map = ops.HyperMap()
        self.nesterov = nesterov
        self.kernel = None
        if kernel is not None:
            self.kernel = kernel(momentum, self.decay, self.factors, nesterov, **self.kernel_options)
        self.apply = ops.ApplyMomentum()

    def construct(self, gradients, lr=None, factor=1.0, own=False):
        lr, factor = self.scalars(lr, factor, own)
        if self.kernel is not None:
            return self.kernel(self.params, self.moments, gradients, lr, factor, own)
        move = ops.partial(self.move, lr, factor)
        return self.map(move, self.params, self.moments, gradients, self.decay, self.factors)

    def move(self, lr, factor, parameter, moment, gradient, decay, rate):
        """Updates one parameter and its moment."""
        gradient = gradient * factor
        if rate != 1.0:
            lr = lr * rate
        if decay > 0.0:
            gradient = self.decayed_gradient(gradient, parameter, decay)
        if self.nesterov:
            # By hand: on CPU ApplyMomentum takes use_nesterov=True and leaves it out (MindSpore 2.10).
            moment = ops.depend(moment, ops.assign(moment, self.momentum * moment + gradient))
            return ops.assign_sub(parameter, lr * (gradient + self.momentum * moment))
        return self.apply(parameter, moment, lr, gradient, self.momentum)

    def decayed_gradient(self, gradient, parameter, decay):
        """Returns the gradient of a parameter on which weight decay acts."""
        return gradient + decay * parameter

    def state(self):
        return list(self.moments)
