"""Networks with dropout, for the tests."""

import numpy as np
from layer_cells import between
from mindspore import Parameter, Tensor, nn, ops
from small_cells import Head, conv

from cellwright.engine.step.dropout import ResumableDropout


class DropPath(nn.Cell):
    """MindCV's, as its networks have it; it goes by MindCV's name."""

    def __init__(self, p, scale_by_keep=True):
        super().__init__()
        self.keep_prob, self.scale_by_keep, self.dropout = 1.0 - p, scale_by_keep, nn.Dropout(p=p)

    def construct(self, x):
        if self.keep_prob == 1.0 or not self.training:
            return x
        kept = self.dropout(ops.ones((x.shape[0],) + (1,) * (x.ndim - 1)))
        if not self.scale_by_keep:
            kept = ops.mul(kept, self.keep_prob)
        return x * kept


DropPath.__module__, DropPath.__qualname__ = "mindcv.models.layers.drop_path", "DropPath"


class Named(nn.Dropout):
    """A dropout under another name, as MindCV has one."""

    def __init__(self, p):
        super().__init__(p=p)


class Other(nn.Dropout):
    """A dropout that is none: it has a construct of its own."""

    def construct(self, x):
        return x * 2.0


class Residual(nn.Cell):
    def __init__(self, channels, *drops):
        super().__init__()
        self.conv, self.norm, self.drops = (
            conv(channels, channels, 3),
            nn.BatchNorm2d(channels),
            nn.CellList(list(drops)),
        )
        self.relu = nn.ReLU()

    def construct(self, x):
        y = self.norm(self.conv(x))
        for drop in self.drops:
            y = drop(y)
        return self.relu(y + x)


def network():
    """Dropout of numbers in the middle and before the head, of images in a branch."""
    return nn.SequentialCell(
        [
            conv(3, 24, 3),
            Residual(24, nn.Dropout(p=0.3), DropPath(0.4)),
            Residual(24, DropPath(0.5, scale_by_keep=False)),
            Named(0.2),
            Head(24, 5),
        ]
    )


def resumable(p, word):
    """A dropout as a TrainOneStep leaves it, at some step."""
    draws = Parameter(Tensor(np.array([0, 0, word], np.int32)), name=f"draws{abs(word)}", requires_grad=False)
    return ResumableDropout(p, draws, 2)


def between_dropouts():
    return between(resumable(0.25, 12345), nn.BatchNorm2d(24), resumable(0.9, -77), nn.ReLU())
