"""Which parts of a network programs run, which stay stock, and why."""

import contextlib
from typing import NamedTuple

import mindspore
import numpy as np
from mindspore import nn

from cellwright.kernels.compiler.replacement import cells_of
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import FLOAT32
from cellwright.kernels.compiler.trace import stock_class


class Part(NamedTuple):
    """A part of a network: its name, the class of its cell, whether programs run it, why not (or why in float32), its
    share of the FLOPs, and in what its programs store tensors.
    """

    name: str
    kind: str
    replaced: bool
    reason: str
    share: float
    dtype: str = "float32"


class Explanation(NamedTuple):
    """parts: in the network's order. share: of the FLOPs of all convolutions and dense layers that run on programs.
    flops: all of them, forward, for one image.
    """

    parts: tuple
    share: float
    flops: float

    def __str__(self):
        rows = [("part", "cell", "runs as", "FLOPs", "why not a program")]
        for part in self.parts:
            runs, share = f"{part.dtype} program" if part.replaced else "stock", f"{100 * part.share:.1f} %"
            rows.append((part.name or "(the network)", part.kind, runs, share, part.reason))
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        lines = ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[4]]).rstrip() for row in rows]
        return "\n".join([*lines, f"{100 * self.share:.1f} % of the FLOPs on programs"])


def explain(network, shape, candidates, dtype=None):
    """Returns an Explanation for inputs of a shape (N, C, H, W), or of one such shape each.

    candidates: (name, cell, Replacement or None, reason) of the parts, as `accelerate` finds them. dtype: in which
    programs are to store tensors; none: as they do.
    """
    shapes = [tuple(one) for one in (shape if np.ndim(shape) > 1 else [shape])]
    flops = count_flops(network, *shapes)
    total = sum(flops.values())
    parts = []
    for name, cell, replacement, reason in candidates:
        runs, stored = False, FLOAT32
        if replacement is not None:
            runs, reason, stored = _as_program(cell, replacement, shapes, dtype or replacement.dtype)
        counted = [cell] if replacement is None else cells_of(cell)  # the cells inside have lines of their own
        share = sum(flops.get(id(inner), 0.0) for inner in counted) / (total or 1.0)
        parts.append(Part(name, stock_class(cell).__name__, runs, reason, share, stored))
    return Explanation(tuple(parts), sum(part.share for part in parts if part.replaced), total)


def _as_program(cell, replacement, shapes, dtype):
    """Returns whether programs run a part that can be replaced for inputs of these shapes, why not or why in float32,
    and in what they store tensors.
    """
    before, replacement.dtype = replacement.dtype, dtype
    try:
        choice = replacement.choice(cell)
    finally:
        replacement.dtype = before
    if not choice.runs:
        return False, choice.reason, FLOAT32
    try:
        if not replacement.name:  # the whole network
            choice.programs.tensors(*(shapes[k] for k in choice.programs.trace.takes))
    except Untraceable as reason:
        return False, f"not for {', '.join(map(str, shapes))}: {reason}", FLOAT32
    return True, choice.reason, choice.programs.dtype


def count_flops(network, *shapes):
    """Returns {id of a cell: FLOPs for one image} of the Conv2d and Dense cells, by running stock operators on one
    image, or one of each shape.
    """
    found = {}
    with _stock_calls(found):
        modes = {cell: cell.training for cell in cells_of(network)}
        try:
            for cell in modes:
                cell.__dict__["training"] = False
            network(*(mindspore.Tensor(np.zeros((1, *shape[1:]), np.float32)) for shape in shapes))
        finally:
            for cell, mode in modes.items():
                cell.__dict__["training"] = mode
    return found


@contextlib.contextmanager
def _stock_calls(found):
    """Cells that are called inside run their own `construct` at once; `found` is given the FLOPs of some."""

    def call(cell, *inputs, **settings):
        result = stock_class(cell).construct(cell, *inputs, **settings)
        if isinstance(cell, nn.Conv2d):
            pixels = result.shape[2] * result.shape[3]
            found[id(cell)] = found.get(id(cell), 0.0) + 2.0 * cell.weight.size * pixels
        elif isinstance(cell, nn.Dense):
            found[id(cell)] = found.get(id(cell), 0.0) + 2.0 * cell.weight.size
        return result

    before = nn.Cell.__call__
    nn.Cell.__call__ = call
    try:
        yield
    finally:
        nn.Cell.__call__ = before
