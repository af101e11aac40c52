"""The graphs of a step."""

import mindspore as ms
from mindspore import nn, ops


class WholeStep(nn.Cell):
    """Forward, backward and update in one graph: `construct(batch, lr, share, vote)` -> (numbers of Update, aux)."""

    def __init__(self, gradients, update, begin):
        super().__init__(auto_prefix=False)
        self.gradients, self.update, self.begin = gradients, update, begin
        self.alone = update.ranks == 1

    @ms.jit
    def construct(self, batch, lr, share, vote):
        batch = ops.depend(batch, (self.begin.keep(), self.begin.draw(0)))
        if self.alone:
            loss, aux, gradients = self.gradients(batch, self.update.scale.value)
            report = self.update(loss, gradients, lr, 1.0, vote)
        else:
            loss, aux, gradients = self.gradients(batch, self.update.scale.value * share)
            report = self.update(loss * share, gradients, lr, share, vote)
        self.begin.count(report)
        return report, aux


class Flush(nn.Cell):
    """The update from accumulated sums: `construct(lr, vote)` -> the numbers of Update."""

    def __init__(self, accumulator, update, begin):
        super().__init__(auto_prefix=False)
        self.accumulator, self.update, self.begin = accumulator, update, begin

    @ms.jit
    def construct(self, lr, vote):
        sums = self.accumulator
        report = self.update(sums.loss + 0.0, sums.sums, lr, sums.shares + 0.0, vote)
        self.begin.count(report)
        return report
