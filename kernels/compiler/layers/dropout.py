"""Dropout of numbers, and of whole images (stochastic depth); the backward draws the same masks again.

The masks of a dropout that a TrainOneStep has made resumable are those that its own cell draws. Others come from a
count of the process: the framework's generator is hidden.
"""

import mindspore
from mindspore import nn

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.schedule import BEFORE, NONE
from cellwright.kernels.compiler.symbols import Untraceable


class Dropout(Kind):
    """numbers: threshold (of 2^24), factor, whole (an image is kept or not), number (its place in draws), seed.

    parameters: draws, or none.
    """

    name = "dropout"
    same_size = True

    def saved_words(self, stored):
        return 1

    def lower(self, tensors, layer, value):
        view = tensors.tensor(value)
        stored = view.stored
        given = {"numbers": layer.numbers, "parameters": layer.parameters}
        return tensors.store(self, stored.extents, (view,), flat=stored.flat, **given)

    def forward(self, plan, stored):
        draws = NONE
        if "draws" in stored.parameters:
            draws = plan.parameter(stored.parameters["draws"])
        source, masks = plan.value(stored.sources[0]), self._masks(plan, stored)
        drawn = {name: stored.numbers[name] for name in ("number", "seed")}
        plan.stages.job(BEFORE, "draw", source=draws, target=masks["draw"], **drawn)
        plan.operation("dropout", source=source, target=plan.place(stored), add=0, **masks)

    def backward(self, plan, stored):
        view = stored.sources[0]
        if plan.needs(view):
            plan.give(view, "dropout", source=plan.ready(stored), **self._masks(plan, stored))

    def _masks(self, plan, stored):
        """The arguments of the operation that say what it keeps: on the way back as on the way there."""
        own = {name: stored.numbers[name] for name in ("threshold", "factor", "whole")}
        return {**own, **plan.plane(stored), "channels": stored.channels, "draw": plan.saved.words[stored]}


DROPOUT = Dropout()


def _dropped(trace, cell, x, whole=False, factor=1.0):
    """x with zeros as a dropout cell sets them; factor: multiplies what stays, beside the cell's own."""
    if not cell.training or cell.p == 0:
        return x
    if not 0 < cell.p < 1:
        raise Untraceable(f"dropout with p = {cell.p}")
    draws = getattr(cell, "draws", None)
    numbers = {
        "threshold": round(cell.p * 2**24),
        "factor": factor / (1.0 - cell.p),
        "whole": int(whole),
        "number": cell.layer if draws is not None else 0,
        "seed": 0 if draws is not None else hash((mindspore.get_seed() or 0, len(trace.layers))) % 2**31,
    }
    return trace.add(DROPOUT, x, numbers=numbers, parameters={"draws": draws} if draws is not None else {})


def _drop_path(trace, cell, x):
    """MindCV's: dropout of a one for each image."""
    if cell.keep_prob == 1.0 or not cell.training:
        return x
    return _dropped(trace, cell.dropout, x, whole=True, factor=1.0 if cell.scale_by_keep else cell.keep_prob)


CELLS = {nn.Dropout: _dropped}
NAMED_CELLS = {
    "cellwright.engine.step.dropout.ResumableDropout": _dropped,
    "mindcv.models.layers.drop_path.DropPath": _drop_path,
}
COSTS = {"dropout": cost.passes(2, 12)}
