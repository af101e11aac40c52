"""A tensor times a number, plus a number; differences and quotients."""

from mindspore import ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.symbols import Untraceable


class Scale(Kind):
    """numbers: factor, shift."""

    name = "scale"
    same_size = True

    def lower(self, tensors, layer, value):
        view = tensors.tensor(value)
        return tensors.store(self, view.stored.extents, (view,), numbers=layer.numbers, flat=view.stored.flat)

    def forward(self, plan, stored):
        source, target = plan.value(stored.sources[0]), plan.place(stored)
        plane = {**plan.plane(stored), "channels": stored.channels}
        plan.operation("scale", source=source, target=target, add=0, **stored.numbers, **plane)

    def backward(self, plan, stored):
        view = stored.sources[0]
        if plan.needs(view):
            numbers = {"factor": stored.numbers["factor"], "shift": 0.0, "channels": stored.channels}
            plan.give(view, "scale", source=plan.ready(stored), **numbers, **plan.plane(stored))


SCALE = Scale()


def is_number(value):
    """True for a number of Python."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def scaled(trace, x, factor=1.0, shift=0.0):
    """Returns the symbol of x factor + shift."""
    if factor == 1 and shift == 0:
        return x
    return trace.add(SCALE, x, numbers={"factor": float(factor), "shift": float(shift)})


def _subtract(trace, left, right):
    if is_number(right):
        return scaled(trace, left, shift=-right)
    negative = scaled(trace, right, -1.0)
    return trace.operator("add", negative, left) if is_number(left) else trace.operator("add", left, negative)


def _divide(trace, left, right):
    if not is_number(right) or right == 0:
        raise Untraceable("a division by a tensor or by zero")
    return scaled(trace, left, 1.0 / right)


FUNCTIONS = {"sub": _subtract, "subtract": _subtract, "div": _divide, "true_divide": _divide}
PRIMITIVES = {
    ops.Sub: lambda trace, primitive, left, right: _subtract(trace, left, right),
    ops.RealDiv: lambda trace, primitive, left, right: _divide(trace, left, right),
}
COSTS = {"scale": cost.passes(2, 2)}
