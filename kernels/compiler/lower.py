"""Turns a trace into tensors for some shapes of inputs: what is stored, what is only a view of it, what is a part of
what.
"""

import math

from cellwright.kernels.compiler.layers import affine
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import FLOAT32, PLAIN, Stored, View


class Tensors:
    """The stored tensors of a traced network in the order of computation.

    shapes: (channels, height, width) of each input. dtype: in which all but the inputs are stored. trial: whatever can
    fail later is tried now.
    """

    def __init__(self, trace, shapes, lanes, trial=False, dtype=FLOAT32):
        self.trace, self.shapes, self.lanes, self.trial, self.dtype = trace, shapes, lanes, trial, dtype
        self.stored = []
        self._views, self._copies, self._extents = {}, {}, {}
        results = {}
        for layer in trace.layers:
            inputs = [results[id(source)] for source in layer.inputs]
            self._name = layer.name or layer.kind.name
            result = results[id(layer)] = layer.kind.lower(self, layer, *inputs)
            self._name_extents(layer, result.stored if isinstance(result, View) else result.like)
        self.outputs = [self.use(self.tensor(results[id(layer)])) for layer in trace.outputs]

    def _name_extents(self, layer, stored):
        """Keeps what the names of a layer's height and width stand for; None where two layers of one name differ."""
        if stored is not None:
            for name, extent in zip(layer.size, (stored.height, stored.width)):
                if self._extents.setdefault(name, extent) != extent:
                    self._extents[name] = None

    def extent(self, value):
        """Returns a number or an Extent of heights and widths as a number."""
        if isinstance(value, int):
            return value
        known = [self._extents.get(axis) for axis in value.axes]
        if None in known:
            raise Untraceable(f"a size {value} that is not known")
        return value.factor * math.prod(known)

    def use(self, view):
        """Returns the view, with one more reader."""
        view.consumers += 1
        if view not in view.stored.views:
            view.stored.views.append(view)
        return view

    def view(self, stored, norm=None, slope=1.0):
        """Returns the view of a stored tensor through a norm and an activation; the same one for the same."""
        key = (id(stored), id(norm), slope)
        return self._views.setdefault(key, View(stored, norm, slope))

    def store(self, kind, extents, sources=(), **fields):
        """Returns the plain view of a new stored tensor of (channels, height, width)."""
        channels, height, width = extents
        if height < 1 or width < 1:
            raise Untraceable(f"a {kind.name} of {height} x {width} pixels")
        sources = tuple(self.use(source) for source in sources)
        dtype = FLOAT32 if fields.get("layout") == PLAIN else self.dtype
        stored = Stored(kind, channels, height, width, sources, name=self._name, dtype=dtype, **fields)
        self.stored.append(stored)
        return self.view(stored)

    def store_whole(self, kind, parts, **fields):
        """Returns the plain view of a tensor that consists of stored ones, side by side along the channels."""
        channels, height, width = sum(part.channels for part in parts), parts[0].height, parts[0].width
        whole = Stored(kind, channels, height, width, name=self._name, dtype=self.dtype, **fields)
        for part in parts:
            part.whole, part.offset = whole, sum(other.channels for other in whole.parts)
            whole.parts += (part,)
        self.stored.append(whole)
        return self.view(whole)

    def tensor(self, value):
        """Returns a View of what a layer gave."""
        return value if isinstance(value, View) else value.materialize(self)

    def image(self, value):
        """As `tensor`, of (N, C, H, W): what is (N, C) is refused, as the framework does."""
        view = self.tensor(value)
        if view.stored.flat:
            raise Untraceable("a layer for images is given a tensor of two axes")
        return view

    def plain(self, value):
        """As `tensor`, of what is stored as it is: of a copy where there is a norm or an activation."""
        view = self.tensor(value)
        if view.plain:
            return view
        if view not in self._copies:
            self._copies[view] = self.copy(view)
        return self._copies[view]

    def copy(self, view):
        """Returns the plain view of a tensor that holds the values of this view."""
        return self.store(affine.AFFINE, view.stored.extents, (view,), flat=view.stored.flat)
