"""What a step does before its forward pass: it keeps the statistics, and draws the masks of dropout."""

import mindspore as ms
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from cellwright.engine.step.dropout import Masks


class Begin(nn.Cell):
    """`keep()` copies the network's statistics, so that an overflow can go back to them; `draw(micro)` sets the masks
    of micro-batch `micro`, an int32 scalar. Both return a tensor on which the forward pass has to depend.

    `steps` counts the steps taken, skipped ones included; `count(after)` adds one once `after` is computed.
    """

    def __init__(self, statistics, dropouts, seed, keeps):
        super().__init__(auto_prefix=False)
        self.steps = Parameter(Tensor(0, ms.int32), name="steps", requires_grad=False)
        self.statistics = ParameterTuple(statistics)
        self.kept = self.statistics.clone(prefix="kept") if keeps else ()
        self.masks = Masks(dropouts, seed) if dropouts else None
        self.map = ops.HyperMap()

    def keep(self):
        if len(self.kept) > 0:
            return ops.depend(self.steps + 0, self.map(ops.assign, self.kept, self.statistics))
        return self.steps + 0

    def draw(self, micro):
        if self.masks is not None:
            return self.masks(self.steps + 0, micro)
        return micro

    def go_back(self):
        """Sets the statistics to what they were when the step began."""
        if len(self.kept) > 0:
            return self.map(ops.assign, self.statistics, self.kept)
        return ()

    def count(self, after):
        return ops.assign_add(self.steps, ops.depend(Tensor(1, ms.int32), after))
