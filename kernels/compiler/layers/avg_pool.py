"""Average pools."""

from mindspore import nn

from cellwright.kernels.compiler.layers import cost, window
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.window import Padding, pair
from cellwright.kernels.compiler.symbols import Untraceable


class AvgPool(Kind):
    """numbers: kernel, stride (height, width), padding, ceil, count_padding, divisor (0: the pixels of the window)."""

    name = "avg_pool"

    def lower(self, tensors, layer, value):
        view, numbers = tensors.image(value), layer.numbers
        found, extents = window.window(
            view.stored, numbers["kernel"], numbers["stride"], numbers["padding"], (1, 1), numbers["ceil"]
        )
        found.update(count_padding=numbers["count_padding"], divisor=numbers["divisor"])
        return tensors.store(self, (view.stored.channels, *extents), (view,), numbers=found)

    def forward(self, plan, stored):
        source, target = plan.value(stored.sources[0]), plan.place(stored)
        plan.operation("avg_pool", source=source, target=target, **stored.numbers, **window.plane(plan, stored))

    def backward(self, plan, stored):
        view = stored.sources[0]
        if not plan.needs(view):
            return
        gradient = plan.ready(stored)
        target, add = plan.target(view)
        plan.operation(
            "avg_pool_gradient",
            gradient=gradient,
            target=target,
            sums=window.sums(plan, view.stored),
            add=int(add),
            **stored.numbers,
            **window.plane(plan, stored),
        )
        plan.done(view)


AVG_POOL = AvgPool()


def _read(trace, cell, x):
    mode = cell.pad_mode.lower()
    if mode != "valid" or cell.is_expand or getattr(cell, "divisor_override", None) or cell.format != "NCHW":
        raise Untraceable(f"AvgPool2d with pad_mode {cell.pad_mode}, a divisor or another format")
    numbers = {
        "kernel": pair(cell.kernel_size),
        "stride": pair(cell.stride),
        "padding": Padding(mode),
        "ceil": False,
        "count_padding": 0,
        "divisor": 0,
    }
    return trace.add(AVG_POOL, x, numbers=numbers)


CELLS = {nn.AvgPool2d: _read}
COSTS = {"avg_pool": cost.window(1), "avg_pool_gradient": cost.window(1)}
