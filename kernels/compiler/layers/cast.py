"""Casts to float32, which change nothing, and to float16, whose result has to become float32 again at once: it is
rounded, and its gradient too.
"""

import mindspore
from mindspore import ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.symbols import ParameterSymbol, Symbol, Untraceable


class Half(Kind):
    name = "half"
    same_size = True

    def lower(self, tensors, layer, value):
        view = tensors.tensor(value)
        return tensors.store(self, view.stored.extents, (view,), flat=view.stored.flat)

    def forward(self, plan, stored):
        source, target = plan.value(stored.sources[0]), plan.place(stored)
        plan.operation("half", source=source, target=target, add=0, **plan.plane(stored))

    def backward(self, plan, stored):
        view = stored.sources[0]
        if plan.needs(view):
            plan.give(view, "half", source=plan.ready(stored), **plan.plane(stored))


HALF = Half()


class HalfSymbol(Symbol):
    """Stands for a tensor of float16, which no layer takes."""

    def __init__(self, trace, source):
        super().__init__(trace, None)
        self.source = source

    @property
    def shape(self):
        return self.source.shape

    @property
    def dtype(self):
        return mindspore.float16


def promoted(left, right):
    """Returns two operands as the framework has them for a sum or a product: float16 beside float32 becomes float32."""
    halves = [isinstance(operand, HalfSymbol) for operand in (left, right)]
    if halves == [True, False] and isinstance(right, Symbol):
        return _widened(left), right
    if halves == [False, True] and isinstance(left, Symbol):
        return left, _widened(right)
    return left, right


def _widened(symbol):
    return symbol.trace.add(HALF, symbol.source)


def _cast(trace, x, dtype):
    if dtype == mindspore.float32 and isinstance(x, (Symbol, ParameterSymbol)):
        return _widened(x) if isinstance(x, HalfSymbol) else x
    if dtype == mindspore.float16 and isinstance(x, Symbol):
        return x if isinstance(x, HalfSymbol) else HalfSymbol(trace, x)
    raise Untraceable(f"a cast to {dtype}")


FUNCTIONS = {
    "cast": _cast,
    "astype": _cast,
    "to": _cast,
    "float": lambda trace, x: _cast(trace, x, mindspore.float32),
    "half": lambda trace, x: _cast(trace, x, mindspore.float16),
}
PRIMITIVES = {ops.Cast: lambda trace, primitive, x, dtype: _cast(trace, x, dtype)}
COSTS = {"half": cost.passes(2, 1)}
