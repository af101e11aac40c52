"""LARS: momentum SGD whose step is scaled layer by layer, for large batches."""

import mindspore as ms
from mindspore import ops

from cellwright.engine.step.momentum import Momentum, decayed_by_default


class LARS(Momentum):
    """Momentum with the layer-wise rate of You, Gitman and Ginsburg (2017, arXiv 1708.03888).

    Where weight decay acts, g' = r * (g + wd * p) with r = trust * |p| / (|g| + wd * |p| + eps); r = 1 where |p| or |g|
    is 0. Biases and BatchNorm parameters are updated as by Momentum. The learning rate is then the global one.
    """

    def __init__(self, params, momentum=0.9, weight_decay=0.0, decays=None, nesterov=False, trust=0.001, eps=1e-9):
        super().__init__(params, momentum, weight_decay, decays, nesterov)
        if not trust > 0.0:
            raise ValueError(f"trust = {trust}: must be > 0 (LARS)")
        self.trust, self.eps = trust, eps
        self.decayed = tuple(bool((decays or decayed_by_default)(p.name)) for p in self.params)

    def decayed_gradient(self, gradient, parameter):
        weight_norm = ops.sqrt(ops.square(parameter).sum())
        gradient_norm = ops.sqrt(ops.square(gradient).sum())
        ratio = self.trust * weight_norm / (gradient_norm + self.weight_decay * weight_norm + self.eps)
        usable = ops.logical_and(weight_norm > 0.0, gradient_norm > 0.0)
        ratio = ops.select(usable, ratio, ops.ones_like(ratio))
        return ops.cast(ratio, ms.float32) * (gradient + self.weight_decay * parameter)
