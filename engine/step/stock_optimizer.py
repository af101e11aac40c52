"""MindSpore's own optimizers, and those derived from them, as the step takes them."""

import mindspore as ms
from mindspore import ParameterTuple, nn, ops

from cellwright.engine.step.optimizer import Optimizer


def _times(factor, gradient):
    return gradient * ops.cast(factor, gradient.dtype)


class StockOptimizer(nn.Cell):
    """Runs a `mindspore.nn.Optimizer`: its groups, its weight decay, its schedule.

    The learning rate is the optimizer's own, or the step's `lr` where it was made with one number: then `lr` replaces
    it. Its loss scale must be 1: the step has its own.

    Raises ValueError for another loss scale.
    """

    needs_lr, shard, sharded = False, None, {}

    def __init__(self, optimizer):
        super().__init__(auto_prefix=False)
        if float(getattr(optimizer, "loss_scale", 1.0)) != 1.0:
            raise ValueError(f"optimizer: loss_scale = {optimizer.loss_scale}; leave it out, the step has its own")
        self.stock = optimizer
        self.params = ParameterTuple(list(optimizer.parameters))
        self.has_schedule = bool(optimizer.dynamic_lr or optimizer.is_group_lr)
        self.map = ops.HyperMap()
        self.settings = {"class": f"{type(optimizer).__module__}.{type(optimizer).__name__}"}

    def construct(self, gradients, lr=None, factor=1.0):
        gradients = self.map(ops.partial(_times, ops.cast(factor, ms.float32)), gradients)
        if not self.has_schedule and lr is not None:
            gradients = ops.depend(gradients, ops.assign(self.stock.learning_rate, ops.cast(lr, ms.float32)))
        return self.stock(gradients)

    def state(self):
        """Returns the parameters that a resume needs: all of the optimizer's but those that it trains."""
        trained = {id(p) for p in self.params}
        return [p for p in self.stock.get_parameters() if id(p) not in trained]

    def rate(self):
        """Returns the rate that it was made with, or None if it has a schedule or several rates."""
        return None if self.has_schedule else float(self.stock.learning_rate.asnumpy())


def as_optimizer(optimizer):
    """Returns an optimizer as the step takes it: ours as it is, MindSpore's wrapped.

    Raises TypeError for anything else.
    """
    if isinstance(optimizer, (Optimizer, StockOptimizer)):
        return optimizer
    if isinstance(optimizer, nn.Optimizer):
        return StockOptimizer(optimizer)
    raise TypeError(
        f"optimizer = {type(optimizer).__name__}: must be Momentum, LARS, AdamW or a mindspore.nn.Optimizer"
    )
