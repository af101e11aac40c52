"""BatchNorm's moving statistics over ranks: each rank has its own, evaluation and checkpoints use their mean."""

import contextlib

import numpy as np
from mindspore import Parameter

from cellwright.engine.step.parameter_value import set_value

_NAMES = ("moving_mean", "moving_variance")


def statistics_of(network):
    """Returns the moving statistics of a network's norms, a list of parameters in the network's order.

    They are what a cell keeps as `moving_mean` and `moving_variance`: frozen weights are none.
    """
    found = {}
    for _, cell in network.cells_and_names():
        for name in _NAMES:
            parameter = getattr(cell, name, None)
            if isinstance(parameter, Parameter) and not parameter.requires_grad:
                found[id(parameter)] = parameter
    return [p for p in network.get_parameters() if id(p) in found]


class Statistics:
    """The moving statistics of a network's norms, a list of parameters. average=False leaves every rank its own.

    Ranks train with their own (as the zoo does). Averaging never touches those: it is swapped in for an evaluation or
    written to a checkpoint beside the rows of all ranks, so that a resumed rank goes on from its own bits.
    """

    def __init__(self, parameters, world=None, average=True):
        self.parameters = list(parameters)
        self.world, self.average = world, average

    def flat(self):
        """Returns this rank's statistics as one float32 vector."""
        return np.concatenate([np.zeros(0, np.float32)] + [p.asnumpy().ravel() for p in self.parameters])

    def rows(self):
        """Returns (ranks, n) float32, the statistics of all ranks, on every rank. Collective."""
        own = self.flat()
        if self.world is None or self.world.size == 1:
            return own[None]
        rows = np.zeros((self.world.size, own.size), np.float32)
        rows[self.world.rank] = own
        return self.world.allreduce(rows)

    def load(self, flat):
        """Sets this rank's statistics from one vector."""
        start = 0
        for parameter in self.parameters:
            part = flat[start : start + parameter.size].reshape(parameter.shape)
            set_value(parameter, part.astype(np.float32))
            start += parameter.size

    def mean(self, rows):
        """Returns the mean over ranks; of one rank its bits. Without averaging rank 0's, as the zoo saved them."""
        return (
            rows[0] if len(rows) == 1 or not self.average else rows.astype(np.float64).mean(axis=0).astype(np.float32)
        )

    @contextlib.contextmanager
    def averaged(self):
        """Context manager: inside, every rank holds the mean over ranks. Collective on entry."""
        rows = self.rows() if self.average else ()
        if len(rows) < 2:
            yield
            return
        own = self.flat()
        self.load(self.mean(rows))
        try:
            yield
        finally:
            self.load(own)
