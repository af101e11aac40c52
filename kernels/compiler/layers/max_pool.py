"""Max pools, and zeros that are put round an image before one."""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers import cost, window
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.window import Padding, Windowed, ZeroPadded, pair
from cellwright.kernels.compiler.symbols import Untraceable


class Pad(Kind):
    """numbers: sides."""

    name = "pad"

    def lower(self, tensors, layer, value):
        return ZeroPadded(tensors.image(value), layer.numbers["sides"])


class MaxPool(Windowed):
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

    def backward(self, plan, stored):
        view = stored.sources[0]
        if not plan.needs(view):
            return
        numbers = {name: value for name, value in stored.numbers.items() if name != "zero_padded"}
        plan.give(
            view,
            "max_pool_gradient",
            gradient=plan.ready(stored),
            source=plan.value(view),
            pooled=plan.place(stored),
            sums=window.sums(plan, view.stored),
            **numbers,
            **window.plane(plan, stored),
        )


PAD, MAX_POOL = Pad(), MaxPool()


def _read(trace, cell, x):
    mode = cell.pad_mode.lower()
    if cell.return_indices or cell.format != "NCHW":
        raise Untraceable("MaxPool2d with indices or another format")
    padding, ceil = Padding(mode), False
    if cell.use_pad:
        settings = cell.max_pool.init_attrs
        if settings["dilation"] not in (1, (1, 1, 1)):
            raise Untraceable(f"MaxPool2d with dilation {settings['dilation']}")
        (_, height, width), ceil = settings["pads"], settings["ceil_mode"]
        padding = Padding("pad", (height, height, width, width))
    numbers = {"kernel": pair(cell.kernel_size), "stride": pair(cell.stride), "padding": padding, "ceil": ceil}
    return trace.add(MAX_POOL, x, numbers=numbers)


def _read_pad_cell(trace, cell, x):
    if cell.mode != "CONSTANT":
        raise Untraceable(f"Pad with mode {cell.mode}")
    return _read_pad(trace, cell, x)


def _read_pad(trace, primitive, x):
    paddings = [tuple(int(side) for side in axis) for axis in primitive.paddings]
    if len(paddings) != 4 or any(paddings[0] + paddings[1]) or min(paddings[2] + paddings[3]) < 0:
        raise Untraceable(f"zeros round an image: {paddings}")
    return trace.add(PAD, x, numbers={"sides": paddings[2] + paddings[3]})


CELLS = {nn.MaxPool2d: _read, nn.Pad: _read_pad_cell}
PRIMITIVES = {ops.Pad: _read_pad}
COSTS = {"max_pool": cost.window(1), "max_pool_gradient": cost.window(2)}
