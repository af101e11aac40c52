"""What changes axes: reshape, transpose, flatten, new axes. Only what is (N, C) of one pixel is brought into memory."""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers.affine import AFFINE
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.rearranged import axes_of, rearranged, reshaped, transposed, with_axis
from cellwright.kernels.compiler.symbols import ParameterSymbol, Untraceable


class AsFlat(Kind):
    """numbers: flat (the result is (N, C) and not (N, C, 1, 1))."""

    name = "as_flat"

    def flat(self, layer):
        return layer.numbers["flat"]

    def lower(self, tensors, layer, value):
        view = tensors.tensor(value)
        if view.stored.pixels != 1:
            raise Untraceable("an image of several pixels becomes a row")
        return tensors.store(AFFINE, view.stored.extents, (view,), flat=layer.numbers["flat"])


AS_FLAT = AsFlat()


def _as_flat(trace, symbol, flat):
    return trace.add(AS_FLAT, symbol, numbers={"flat": flat})


def _several(values):
    return values[0] if len(values) == 1 and isinstance(values[0], (tuple, list)) else values


def _reshape(trace, x, *sizes):
    if isinstance(x, ParameterSymbol):
        return x.reshape(_several(sizes))
    return reshaped(x, _several(sizes))


def _transpose(trace, x, *order):
    return transposed(x, _several(order))


def _flatten(trace, x, order="C", *, start_dim=1, end_dim=-1):
    source, axes, first = axes_of(x)
    start, end = start_dim % len(axes), end_dim % len(axes)
    if order != "C" or not 0 < start <= end:
        raise Untraceable("a flattening with other settings")
    joined = [factor for axis in axes[start : end + 1] for factor in axis]
    return rearranged(trace, source, [*axes[:start], joined, *axes[end + 1 :]], first)


def _expand_dims(trace, x, axis):
    if isinstance(x, ParameterSymbol):
        return x.expand_dims(axis)
    return with_axis(x, axis)


CELLS = {nn.Flatten: lambda trace, cell, x: _flatten(trace, x, start_dim=cell.start_dim, end_dim=cell.end_dim)}
FUNCTIONS = {
    "as_flat": _as_flat,
    "reshape": _reshape,
    "view": _reshape,
    "transpose": _transpose,
    "permute": _transpose,
    "flatten": _flatten,
    "expand_dims": _expand_dims,
    "unsqueeze": _expand_dims,
}
PRIMITIVES = {
    ops.ExpandDims: lambda trace, primitive, x, axis: _expand_dims(trace, x, axis),
    ops.Reshape: lambda trace, primitive, x, sizes: _reshape(trace, x, sizes),
    ops.Transpose: lambda trace, primitive, x, order: _transpose(trace, x, order),
}
