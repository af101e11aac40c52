"""Max pools, and zeros that are put round an image before one."""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers import cost, window
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.window import Padding, pair
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import Deferred


class ZeroPadded(Deferred):
    """A view with zeros round it: (top, bottom, left, right)."""

    def __init__(self, view, sides):
        self.view, self.sides = view, sides


class Pad(Kind):
    """numbers: sides."""

    name = "pad"

    def lower(self, tensors, layer, value):
        return ZeroPadded(tensors.image(value), layer.numbers["sides"])


class MaxPool(Kind):
    """numbers: kernel, stride (height, width), padding, ceil. Outside of the image is minus infinity, or zero behind a
    Pad.
    """

    name = "max_pool"

    def lower(self, tensors, layer, value):
        numbers, padding, zeros = layer.numbers, layer.numbers["padding"], isinstance(value, ZeroPadded)
        if zeros:
            if padding.mode != "valid" or numbers["ceil"]:
                raise Untraceable("zeros round an image, and padding of the pool behind them")
            padding, value = Padding("pad", value.sides), value.view
        view = tensors.image(value)
        found, extents = window.window(
            view.stored, numbers["kernel"], numbers["stride"], padding, (1, 1), numbers["ceil"]
        )
        if found["top"] >= numbers["kernel"][0] or found["left"] >= numbers["kernel"][1]:
            raise Untraceable("a pool that sees nothing but padding")
        return tensors.store(
            self, (view.stored.channels, *extents), (view,), numbers={**found, "zero_padded": int(zeros)}
        )

    def forward(self, plan, stored):
        source, target = plan.value(stored.sources[0]), plan.place(stored)
        plan.operation("max_pool", source=source, target=target, **stored.numbers, **window.plane(plan, stored))

    def backward(self, plan, stored):
        view = stored.sources[0]
        if not plan.needs(view):
            return
        gradient = plan.ready(stored)
        source = plan.value(view)
        target, add = plan.target(view)
        numbers = {name: value for name, value in stored.numbers.items() if name != "zero_padded"}
        plan.operation(
            "max_pool_gradient",
            source=source,
            pooled=plan.place(stored),
            gradient=gradient,
            target=target,
            sums=window.sums(plan, view.stored),
            add=int(add),
            **numbers,
            **window.plane(plan, stored),
        )
        plan.done(view)


PAD, MAX_POOL = Pad(), MaxPool()


def _read(trace, cell, x):
    mode = cell.pad_mode.lower()
    if mode not in ("valid", "same") or cell.use_pad or cell.return_indices or cell.format != "NCHW":
        raise Untraceable(f"MaxPool2d with pad_mode {cell.pad_mode}, indices or another format")
    numbers = {"kernel": pair(cell.kernel_size), "stride": pair(cell.stride), "padding": Padding(mode), "ceil": False}
    return trace.add(MAX_POOL, x, numbers=numbers)


def _read_pad(trace, primitive, x):
    paddings = [tuple(int(side) for side in axis) for axis in primitive.paddings]
    if len(paddings) != 4 or any(paddings[0] + paddings[1]) or min(paddings[2] + paddings[3]) < 0:
        raise Untraceable(f"zeros round an image: {paddings}")
    return trace.add(PAD, x, numbers={"sides": paddings[2] + paddings[3]})


CELLS = {nn.MaxPool2d: _read}
PRIMITIVES = {ops.Pad: _read_pad}
COSTS = {"max_pool": cost.window(1), "max_pool_gradient": cost.window(2)}
