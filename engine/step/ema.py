"""Exponential moving average of the weights (Polyak averaging), with its own evaluation."""

import contextlib

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from cellwright.engine.step.parameter_value import set_value


def _approach(rest, average, parameter):
    return ops.assign_add(average, rest * (parameter - average))


class MovingAverage(nn.Cell):
    """Keeps `ema.<parameter>` = d * ema + (1 - d) * parameter for each trained parameter.

    d = min(decay, (1 + t) / (10 + t)) after t updates, so that the first values do not linger. `construct()` is the
    update; call it where a step was applied. BatchNorm statistics are moving averages already and are not averaged
    again.
    """

    def __init__(self, params, decay=0.9999):
        super().__init__(auto_prefix=False)
        if not 0.0 < decay < 1.0:
            raise ValueError(f"ema = {decay}: the decay must be in (0, 1)")
        self.decay = decay
        self.map = ops.HyperMap()
        self.params = ParameterTuple(params)
        self.average = self.params.clone(prefix="ema")
        for parameter in self.average:
            parameter.requires_grad = False
        self.updates = Parameter(Tensor(0.0, ms.float32), name="ema_updates", requires_grad=False)

    def construct(self):
        updates = self.updates + 1.0
        ops.assign(self.updates, updates)
        rest = 1.0 - ops.minimum(ops.cast(self.decay, ms.float32), (1.0 + updates) / (10.0 + updates))
        return self.map(ops.partial(_approach, rest), self.average, self.params)

    @contextlib.contextmanager
    def swapped_in(self):
        """Context manager: inside, the network's weights are the averages."""
        kept = [parameter.asnumpy().copy() for parameter in self.params]
        for parameter, average in zip(self.params, self.average):
            set_value(parameter, average.asnumpy())
        try:
            yield
        finally:
            for parameter, value in zip(self.params, kept):
                set_value(parameter, value)
