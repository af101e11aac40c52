"""Bilinear resize of any region into any place, with the crop and on demand the antialiasing done on the way."""

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic


@numba.njit(cache=True, nogil=True, error_model="numpy")
def taps(size, origin, scale, first, last, antialias, start, weight):
    """Fills `start` (size,) int64 and `weight` (size, n) float32: which source pixels make up each target pixel, and
    how much of each.

    Target pixel i looks at source coordinate (i + 0.5) * scale - 0.5 + origin within [first, last]; the
    weights are those of a triangle of half width 1, or of `scale` where that is more and antialias is set, and sum
    to 1. All n pixels from `start` on may be read.
    """
    reach = scale if antialias and scale > 1.0 else 1.0
    count = weight.shape[1]
    for i in range(size):
        centre = (i + 0.5) * scale - 0.5 + origin
        low = int(np.floor(centre - reach)) + 1
        high = int(np.ceil(centre + reach)) - 1
        if reach == 1.0:  # at the border the nearest pixel counts double; a cut triangle would do the same
            low = max(min(low, last), first)
            high = max(min(high, last), first)
        else:
            low, high = max(low, first), min(high, last)
        total = 0.0
        for k in range(low, high + 1):
            total += max(0.0, 1.0 - abs(k - centre) / reach)
        start[i] = max(min(low, last + 1 - count), first)
        weight[i] = 0.0
        for k in range(low, high + 1):
            share = 1.0 if total == 0.0 else max(0.0, 1.0 - abs(k - centre) / reach) / total
            weight[i, k - start[i]] = share


def taps_needed(scale, antialias, pixels):
    """How many source pixels make up a target pixel at most, of `pixels` that there are."""
    return min(pixels, 2 * int(np.ceil(scale)) + 1 if antialias and scale > 1 else 2)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resample(source, top, left, scale_y, scale_x, box, antialias, out, row, starts, down, across):
    """Writes to `out` (h, w, 3) uint8 the part of `source` (H, W, 3) uint8 that begins at (top, left), in
    source pixels and not necessarily whole ones, with `scale_y` and `scale_x` source pixels a target pixel.

    box: (first row, last row, first column, last column) that may be read; beyond them the border pixel
    counts. row: float32 of at least 3 * W + 1. starts: int64 (2, max(h, w)). down (h, n), across (w, m): float32, of
    `taps_needed`. In float32, so that every machine gives the same bits.
    """
    height, width = out.shape[0], out.shape[1]
    taps(height, top, scale_y, box[0], box[1], antialias, starts[0], down)
    taps(width, left, scale_x, box[2], box[3], antialias, starts[1], across)
    base, span = 3 * box[2], 3 * (box[3] - box[2] + 1)
    flat = source.reshape(source.shape[0], -1)
    for j in range(width):  # not of the whole array at once, whose complaint takes 1.7 s to compile
        starts[1, j] -= box[2]
    for i in range(height):
        _blend_rows(flat, starts[0, i], down[i], base, row[:span])
        _blend_columns(row, starts[1], across, across.shape[1], out[i], width)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _blend_rows(flat, first, weight, base, row):
    line = flat[first, base : base + row.size]
    w = weight[0]
    if weight.size == 1:
        for k in range(row.size):
            row[k] = np.float32(line[k]) * w
        return
    other, v = flat[first + 1, base : base + row.size], weight[1]
    for k in range(row.size):
        row[k] = np.float32(line[k]) * w + np.float32(other[k]) * v
    for t in range(2, weight.size):
        line, w = flat[first + t, base : base + row.size], weight[t]
        if w != 0:
            for k in range(row.size):
                row[k] += np.float32(line[k]) * w


@intrinsic
def _blend_columns(typing_context, row, starts, weights, count, out, width):
    """Writes `width` RGB pixels to uint8 `out`, each the sum of `count` pixels of float32 `row` from starts[j] on,
    times `weights` [j], rounded. A pixel is a vector of four, whose last is nobody's.
    """

    def generate(context, b, signature, arguments):
        whole, real = ir.IntType(64), ir.FloatType()
        four, bytes_ = ir.VectorType(real, 4), ir.IntType(8)

        def data(k):
            return context.make_array(signature.args[k])(context, b, arguments[k]).data

        line, begins, shares, target = (data(k) for k in (0, 1, 2, 4))
        count, width = arguments[3], arguments[5]
        total = cgutils.alloca_once(b, four)
        with cgutils.for_range(b, width) as pixels:
            j = pixels.index
            b.store(ir.Constant(four, [0.5] * 4), total)
            begin = b.mul(b.load(b.gep(begins, [j])), whole(3))
            with cgutils.for_range(b, count) as taps_of_it:
                t = taps_of_it.index
                share = b.load(b.gep(shares, [b.add(b.mul(j, count), t)]))
                one = b.insert_element(ir.Constant(four, ir.Undefined), share, ir.IntType(32)(0))
                zeros = ir.Constant(ir.VectorType(ir.IntType(32), 4), [0] * 4)
                spread = b.shuffle_vector(one, ir.Constant(four, ir.Undefined), zeros)
                at = b.gep(line, [b.add(begin, b.mul(t, whole(3)))])
                pixel = b.load(b.bitcast(at, four.as_pointer()), align=4)
                b.store(b.fadd(b.load(total), b.fmul(pixel, spread)), total)
            value = b.fptosi(b.load(total), ir.VectorType(ir.IntType(32), 4))
            for c in range(3):
                at = b.gep(target, [b.add(b.mul(j, whole(3)), whole(c))])
                b.store(b.trunc(b.extract_element(value, ir.IntType(32)(c)), bytes_), at)
        return whole(0)

    return types.int64(row, starts, weights, types.int64, out, types.int64), generate
