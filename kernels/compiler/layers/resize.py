"""Images of another size, by their nearest or two nearest pixels along each axis: `ops.interpolate`, `nn.Upsample`."""

import math

from mindspore import nn, ops

from cellwright.kernels.compiler.extent import Extent
from cellwright.kernels.compiler.layers.window import Windowed
from cellwright.kernels.compiler.symbols import Untraceable

_METHODS = ("linear", "corners", "centres")


class Resize(Windowed):
    """numbers: size (height, width), factors by which it is multiplied, and 0 or 1 each: linear (the nearest two pixels
    and not one), corners (those of both images lie on each other), centres (pixels lie at their centres).
    """

    name = "resize"

    def lower(self, tensors, layer, value):
        view, numbers = tensors.image(value), layer.numbers
        size = (math.floor(tensors.extent(one) * factor) for one, factor in zip(numbers["size"], numbers["factors"]))
        methods = {name: numbers[name] for name in _METHODS}
        return tensors.store(self, (view.stored.channels, *size), (view,), numbers=methods)


RESIZE = Resize()


def _resized(trace, x, size, *, factors=(1, 1), linear=False, corners=False, centres=False):
    size = tuple(size) if isinstance(size, (tuple, list)) else (size, size)
    if len(size) != 2 or not all(isinstance(one, (int, Extent)) for one in size) or corners and centres:
        raise Untraceable(f"an image of the size {size}")
    methods = dict(zip(_METHODS, map(int, (linear, corners, centres))))
    return trace.add(RESIZE, x, numbers={"size": size, "factors": tuple(factors), **methods})


def _interpolate(
    trace, x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None
):
    if mode not in ("nearest", "nearest-exact", "bilinear") or align_corners is not None and mode != "bilinear":
        raise Untraceable(f"interpolation by {mode} with align_corners {align_corners}")
    if (size is None) == (scale_factor is None) or (size is None) != bool(recompute_scale_factor):
        raise Untraceable("interpolation with a factor that is not recomputed, or with both a size and a factor")
    factors = (1, 1)
    if size is None:
        size = x.shape[2:]
        factors = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
    methods = {"linear": mode == "bilinear", "corners": bool(align_corners)}
    methods["centres"] = mode == "nearest-exact" or mode == "bilinear" and not align_corners
    return _resized(trace, x, size, factors=factors, **methods)


def _read_upsample(trace, cell, x):
    settings = cell.size, cell.scale_factor, cell.mode, cell.align_corners, cell.recompute_scale_factor
    return _interpolate(trace, x, *settings)


def _read_nearest(trace, primitive, x):
    methods = {"corners": primitive.align_corners, "centres": primitive.half_pixel_centers}
    return _resized(trace, x, primitive.size, **methods)


def _read_bilinear(trace, primitive, x, size):
    methods = {"corners": primitive.align_corners, "centres": primitive.half_pixel_centers}
    return _resized(trace, x, size, linear=True, **methods)


def _nearest(trace, size, align_corners=False, half_pixel_centers=False):
    """Returns the operator of a size that is named and not known: the framework's own does not take that."""
    return lambda x: _resized(trace, x, size, corners=align_corners, centres=half_pixel_centers)


CELLS = {nn.Upsample: _read_upsample}
FUNCTIONS = {"interpolate": _interpolate, "upsample": _interpolate, "ResizeNearestNeighbor": _nearest}
PRIMITIVES = {ops.ResizeNearestNeighbor: _read_nearest, ops.ResizeBilinearV2: _read_bilinear}


def _cost(arguments, lanes):
    pixels = [arguments[f"{of}height"] * arguments[f"{of}width"] for of in ("", "out_")]
    numbers = arguments["blocks"] * lanes
    return float(8 * arguments["linear"] * numbers * pixels[1]), 4.0 * numbers * sum(pixels), 0.0


COSTS = {"resize": _cost, "resize_gradient": _cost}
