"""Average pools."""

from mindspore import nn

from cellwright.kernels.compiler.layers import cost, window
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.window import Padding, Windowed, ZeroPadded, pair
from cellwright.kernels.compiler.symbols import Untraceable


class AvgPool(Windowed):
    """numbers: kernel, stride (height, width), padding, ceil, count_padding, divisor (0: the pixels of the window)."""

    name = "avg_pool"

    def lower(self, tensors, layer, value):
        numbers, padding, count_padding = layer.numbers, layer.numbers["padding"], layer.numbers["count_padding"]
        if isinstance(value, ZeroPadded):
            if padding.mode == "pad" and any(padding.sides) and not count_padding:
                raise Untraceable("zeros round an image that count, and padding that does not")
            value, padding, count_padding = value.view, padding.more(value.sides), 1
        view = tensors.image(value)
        found, extents = window.window(
            view.stored, numbers["kernel"], numbers["stride"], padding, (1, 1), numbers["ceil"]
        )
        found.update(count_padding=count_padding, divisor=numbers["divisor"])
        return tensors.store(self, (view.stored.channels, *extents), (view,), numbers=found)


AVG_POOL = AvgPool()


def _read(trace, cell, x):
    mode, padding, count_padding = cell.pad_mode.lower(), Padding(cell.pad_mode.lower()), 0
    if cell.format != "NCHW":
        raise Untraceable(f"AvgPool2d with {cell.format}")
    if cell.is_expand:
        settings = cell.avg_pool.init_attrs
        if mode == "same" or settings["ceil_mode"] or settings["divisor_override"]:
            raise Untraceable("AvgPool2d with ceil_mode or divisor_override")
        padding, count_padding = Padding("pad", tuple(settings["pad"][2:])), int(settings["count_include_pad"])
    numbers = {
        "kernel": pair(cell.kernel_size),
        "stride": pair(cell.stride),
        "padding": padding,
        "ceil": False,
        "count_padding": count_padding,
        "divisor": 0,
    }
    return trace.add(AVG_POOL, x, numbers=numbers)


class AdaptivePool(Kind):
    """numbers: size (height, width) of the result, None for that of the input."""

    name = "adaptive_avg_pool"

    def lower(self, tensors, layer, value):
        view = tensors.image(value)
        inside = view.stored.height, view.stored.width
        size = [out or before for out, before in zip(layer.numbers["size"], inside)]
        if any(before % out for before, out in zip(inside, size)):
            raise Untraceable("an adaptive pool to a size that does not divide the image's")
        kernel = [before // out for before, out in zip(inside, size)]
        found, extents = window.window(view.stored, kernel, kernel, Padding(), (1, 1), False)
        found.update(count_padding=0, divisor=0)
        return tensors.store(AVG_POOL, (view.stored.channels, *extents), (view,), numbers=found)


ADAPTIVE_POOL = AdaptivePool()


def _read_adaptive(trace, cell, x):
    size = cell.adaptive_avgpool2d.init_attrs["output_size"]
    size = size if isinstance(size, tuple) else (size, size)
    if size == (1, 1):
        return trace.operator("mean", x, (2, 3), True)
    return trace.add(ADAPTIVE_POOL, x, numbers={"size": size})


CELLS = {nn.AvgPool2d: _read, nn.AdaptiveAvgPool2d: _read_adaptive}
COSTS = {"avg_pool": cost.window(1), "avg_pool_gradient": cost.window(1)}
