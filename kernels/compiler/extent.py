"""Sizes of tensors that are not known while a network is read: products of a number and of names of axes."""

import math

from cellwright.kernels.compiler.errors import Untraceable


class Extent:
    """factor times the axes that are named, of which each may come several times."""

    def __init__(self, factor, axes=()):
        self.factor, self.axes = factor, tuple(sorted(axes))

    def __mul__(self, other):
        other = extent(other)
        return Extent(self.factor * other.factor, self.axes + other.axes)

    __rmul__ = __mul__

    def __floordiv__(self, other):
        other, axes = extent(other), list(self.axes)
        for axis in other.axes:
            if axis not in axes:
                raise Untraceable("a size divided by another one")
            axes.remove(axis)
        if not other.factor or self.factor % other.factor:
            raise Untraceable("a size whose division leaves a rest")
        return plain(Extent(self.factor // other.factor, axes))

    def __rfloordiv__(self, other):
        return extent(other) // self

    def __bool__(self):
        raise Untraceable("the size of an image decides what happens")

    def __eq__(self, other):
        raise Untraceable("the size of an image is compared")

    __lt__ = __le__ = __gt__ = __ge__ = __eq__
    __hash__ = object.__hash__

    def __int__(self):
        raise Untraceable("the size of an image is calculated with")

    __index__ = __float__ = __add__ = __radd__ = __sub__ = __rsub__ = lambda self, *_: self.__int__()

    def __repr__(self):
        return "*".join([str(self.factor), *self.axes])


def extent(value):
    """Returns a number or an Extent as an Extent; Untraceable for anything else."""
    if isinstance(value, Extent):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Extent(value)
    raise Untraceable(f"a size that is {type(value).__name__}")


def plain(value):
    """Returns the number of an Extent without axes, and others as they are."""
    return value.factor if isinstance(value, Extent) and not value.axes else value


def product(values):
    """Returns the product of numbers and Extents as an Extent."""
    return math.prod(values, start=Extent(1))
