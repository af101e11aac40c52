"""Tensors whose axes are not those of an image while a network is read, as between the halves of a channel shuffle."""

import math
from typing import NamedTuple

from cellwright.kernels.compiler.extent import Extent, extent, plain, product
from cellwright.kernels.compiler.symbols import Symbol, Untraceable


class Factor(NamedTuple):
    """An axis of the tensor that was there, by its name, or so many channels, each `stride` after the one before."""

    size: object  # an int for channels, else an Extent
    stride: int = 0

    @property
    def channels(self):
        return self.stride > 0


class Rearranged(Symbol):
    """axes: each a list of the factors that it consists of, the outermost first. first: a channel, added to all."""

    def __init__(self, trace, source, axes, first=0):
        super().__init__(trace, None)
        self.source, self.axes, self.first = source, axes, first

    @property
    def shape(self):
        return tuple(plain(product(factor.size for factor in axis)) for axis in self.axes)


def axes_of(symbol):
    """Returns a symbol as it would be Rearranged: source, axes, first channel."""
    if isinstance(symbol, Rearranged):
        return symbol.source, symbol.axes, symbol.first
    images, channels, *size = symbol.shape
    if not isinstance(channels, int):
        raise Untraceable("how many channels there are is not known here")
    return symbol, [[Factor(images)], [Factor(channels, 1)], *([Factor(extent)] for extent in size)], 0


def rearranged(trace, source, axes, first=0):
    """Returns the symbol of these axes: of new layers where they are those of an image or of (N, C)."""
    images, _, *size = map(_names, axes_of(source)[1])
    if len(axes) > 1 and _names(axes[0]) == images:
        rest = [_names(axis) for axis in axes[2:]]
        if rest == size and _all_channels(axes[1]):
            return trace.operator("pick_channels", source, axes[1], first)
        if not size and rest == [[], []] and _all_channels(axes[1]):
            return trace.operator("as_flat", trace.operator("pick_channels", source, axes[1], first), False)
        if size and not rest and _names(axes[1][-2:]) == sum(size, []) and _all_channels(axes[1][:-2]):
            return trace.operator("as_flat", trace.operator("pick_channels", source, axes[1][:-2], first), True)
    return Rearranged(trace, source, axes, first)


def _all_channels(axis):
    return all(factor.channels for factor in axis)


def _names(axis):
    return [factor if factor.channels else repr(factor.size) for factor in axis]


def reshaped(symbol, sizes):
    """Returns a symbol with axes of these sizes, of which one may be -1."""
    source, axes, first = axes_of(symbol)
    factors = [factor for axis in axes for factor in axis]
    sizes = list(sizes)
    unknown = [k for k, size in enumerate(sizes) if isinstance(size, int) and size == -1]
    if len(unknown) == 1:
        rest = product(size for k, size in enumerate(sizes) if k != unknown[0])
        sizes[unknown[0]] = product(factor.size for factor in factors) // rest
    elif unknown:
        raise Untraceable("a reshape to more than one unknown size")
    found = [_take(factors, extent(size)) for size in sizes]
    if factors:
        raise Untraceable("a reshape to another number of numbers")
    return rearranged(symbol.trace, source, found, first)


def _take(factors, size):
    """Takes what makes up an axis of this size from the front of the factors."""
    axis = []
    while size.factor != 1 or size.axes:
        if not factors:
            raise Untraceable("a reshape to another number of numbers")
        factor = factors.pop(0)
        if factor.channels and math.gcd(factor.size, size.factor) == size.factor:
            inner = factor.size // size.factor
            axis.append(Factor(size.factor, factor.stride * inner))
            if inner > 1:
                factors.insert(0, Factor(inner, factor.stride))
            size = Extent(1, size.axes)
        else:
            axis.append(factor)
            size = extent(size // factor.size)
    return axis


def transposed(symbol, order):
    """Returns a symbol with its axes in another order."""
    source, axes, first = axes_of(symbol)
    order = [axis % len(axes) for axis in order]
    if sorted(order) != list(range(len(axes))):
        raise Untraceable(f"a transposition {order}")
    return rearranged(symbol.trace, source, [axes[axis] for axis in order], first)


def with_axis(symbol, place):
    """Returns a symbol with a new axis of one number."""
    source, axes, first = axes_of(symbol)
    place %= len(axes) + 1
    return rearranged(symbol.trace, source, [*axes[:place], [], *axes[place:]], first)


def part_of(symbol, number):
    """Returns one place of the first axis, which has to consist of channels."""
    source, axes, first = axes_of(symbol)
    if len(axes[0]) != 1 or not axes[0][0].channels or not -axes[0][0].size <= number < axes[0][0].size:
        raise Untraceable(f"place {number} of a tensor's first axis")
    return rearranged(symbol.trace, source, axes[1:], first + number % axes[0][0].size * axes[0][0].stride)


def channels_last(symbol):
    """Returns the image of which a symbol is (N, H, W, C), or None if it is something else."""
    if not isinstance(symbol, Rearranged) or symbol.first:
        return None
    _, axes, _ = axes_of(symbol.source)
    expected = [axes[0], *axes[2:], axes[1]]
    return symbol.source if len(axes) == 4 and list(map(_names, symbol.axes)) == list(map(_names, expected)) else None
