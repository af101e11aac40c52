"""Images side by side along a new second axis, as SKNet has its branches: products of two such stacks, the sum over
that axis, the softmax over it. Nothing is brought into memory for the stack itself.
"""

from mindspore import nn, ops

from cellwright.kernels.compiler.rearranged import axes_of, rearranged
from cellwright.kernels.compiler.symbols import Symbol, Untraceable


class Stacked(Symbol):
    """parts: the symbols of the images; no layer takes a stack as it is."""

    def __init__(self, trace, parts):
        super().__init__(trace, None)
        self.parts = tuple(parts)

    @property
    def shape(self):
        images, *rest = self.parts[0].shape
        return images, len(self.parts), *rest


def stacked(symbol):
    """Returns a symbol of (N, K, C, H, W) as a Stacked of K images."""
    if isinstance(symbol, Stacked):
        return symbol
    source, axes, first = axes_of(symbol)
    if len(axes) != 5 or len(axes[1]) != 1 or not axes[1][0].channels:
        raise Untraceable("a tensor that is no stack of images")
    count, stride = axes[1][0]
    rest = [axes[0], *axes[2:]]
    return Stacked(symbol.trace, [rearranged(symbol.trace, source, rest, first + k * stride) for k in range(count)])


def product(left, right):
    """Returns the Stacked of the products of what two stacks have at the same place."""
    left, right = stacked(left), stacked(right)
    if len(left.parts) != len(right.parts):
        raise Untraceable("a product of stacks of different size")
    return Stacked(left.trace, [one * other for one, other in zip(left.parts, right.parts)])


def _stack(trace, tensors, axis=0, dim=None):
    if (axis if dim is None else dim) != 1 or not all(isinstance(part, Symbol) and part.layer for part in tensors):
        raise Untraceable("a stack along another axis than the second one")
    if len({part.layer.channels for part in tensors}) != 1:
        raise Untraceable("a stack of different numbers of channels")
    return Stacked(trace, tensors)


def _sum(trace, x, axis=None, dtype=None, keepdims=False):
    if axis != 1 or dtype is not None or keepdims:
        raise Untraceable(f"a sum over the axes {axis}")
    total, *rest = stacked(x).parts
    for part in rest:
        total = total + part
    return total


def _softmax(trace, x, axis=-1):
    parts = stacked(x).parts
    if axis not in (1, (1,)) or len(parts) != 2:
        raise Untraceable("a softmax over anything but the two images of a stack")
    difference = parts[0] - parts[1]
    return Stacked(trace, [difference.sigmoid(), (-difference).sigmoid()])


CELLS = {nn.Softmax: lambda trace, cell, x: _softmax(trace, x, cell.softmax.axis)}
FUNCTIONS = {"stack": _stack, "sum": _sum, "softmax": _softmax}
PRIMITIVES = {
    ops.Softmax: lambda trace, primitive, x: _softmax(trace, x, primitive.axis),
    ops.ReduceSum: lambda trace, primitive, x, axis=None: _sum(trace, x, axis, None, primitive.keep_dims),
}
