"""LARS: momentum SGD whose step is scaled layer by layer, for large batches."""

from collections.abc import Callable, Sequence

import mindspore as ms
from mindspore import ops

from cellwright.engine.step.momentum import Momentum
from cellwright.engine.step.parameter_groups import ParameterGroup, decayed_by_default


class LARS(Momentum):
    """Momentum with the layer-wise rate of You, Gitman and Ginsburg (2017, arXiv 1708.03888).

    Where weight decay acts, g' = r * (g + wd * p) with r = trust * |p| / (|g| + wd * |p| + eps); r = 1 where |p| or |g|
    is 0. Biases and the parameters of norms are updated as by Momentum. The learning rate is then the global one.

    trust: the share of a layer's norm that one step may move. The rest is as in Momentum.
    """

    def __init__(
        self,
        params,
        momentum: float = 0.9,
        weight_decay: float | Callable[[str], float] = 0.0,
        decays: Callable[[str], bool] | None = None,
        nesterov: bool = False,
        trust: float = 0.001,
        eps: float = 1e-9,
        groups: Sequence[ParameterGroup] = (),
        lr: float | None = None,
    ):
        super().__init__(params, momentum, weight_decay, decays, nesterov, groups=groups, lr=lr)
        if not trust > 0.0:
            raise ValueError(f"trust = {trust}: must be > 0 (LARS)")
        self.settings |= {"trust": trust, "eps": eps}
        self.trust, self.eps = trust, eps
        scales = decays or decayed_by_default
        self.scaled = tuple(bool(scales(p.name)) or decay > 0.0 for p, decay in zip(self.params, self.decay))

    def construct(self, gradients, lr=None, factor=1.0):
        lr, factor = self.scalars(lr, factor)
        gradients = self.map(ops.partial(self.layer_gradient, factor), self.params, gradients, self.decay, self.scaled)
        undecayed = self.map(_zero, self.decay)
        move = ops.partial(self.move, lr, ops.cast(1.0, ms.float32))
        return self.map(move, self.params, self.moments, gradients, undecayed, self.factors)

    def layer_gradient(self, factor, parameter, gradient, decay, scaled):
        """Returns the gradient of one parameter with decay and the layer's own rate."""
        gradient = gradient * factor
        if not scaled:
            return gradient
        weight_norm = ops.sqrt(ops.square(parameter).sum())
        gradient_norm = ops.sqrt(ops.square(gradient).sum())
        ratio = self.trust * weight_norm / (gradient_norm + decay * weight_norm + self.eps)
        usable = ops.logical_and(weight_norm > 0.0, gradient_norm > 0.0)
        ratio = ops.select(usable, ratio, ops.ones_like(ratio))
        return ops.cast(ratio, ms.float32) * (gradient + decay * parameter)


def _zero(number):
    return number * 0.0
