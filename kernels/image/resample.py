"""Bilinear resize of any region into any place, with the crop and on demand the antialiasing done on the way."""

import numba
import numpy as np

WEIGHT_BITS = 11
"""As in OpenCV: two passes of 11 bits each leave a product of 255 * 2**22, which int32 holds."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def taps(size, origin, scale, first, last, antialias, start, count, weight):
    """Fills `start`, `count` (size,) and `weight` (size, n) int32: which source pixels make up each target
    pixel, and how much of each.

    Target pixel i looks at source coordinate (i + 0.5) * scale - 0.5 + origin within [first, last]; the
    weights are those of a triangle of half width 1, or of `scale` where that is more and antialias is set,
    and sum to 2**11.
    """
    one = 1 << WEIGHT_BITS
    reach = scale if antialias and scale > 1.0 else 1.0
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
        start[i], count[i] = low, high - low + 1
        left, widest, most = one, 0, -1
        for k in range(low, high + 1):
            share = 1.0 if total == 0.0 else max(0.0, 1.0 - abs(k - centre) / reach) / total
            w = int(share * one + 0.5)
            weight[i, k - low] = w
            left -= w
            if w > most:
                most, widest = w, k - low
        weight[i, widest] += left


def taps_needed(scale, antialias):
    """Upper bound of `count` in `taps`."""
    return 2 * int(np.ceil(scale)) + 1 if antialias and scale > 1 else 2


@numba.njit(cache=True, nogil=True, error_model="numpy")
def resample(source, top, left, scale_y, scale_x, box, antialias, out, row, work):
    """Writes to `out` (h, w, 3) uint8 the part of `source` (H, W, 3) uint8 that begins at (top, left), in
    source pixels and not necessarily whole ones, with `scale_y` and `scale_x` source pixels a target pixel.

    box: (first row, last row, first column, last column) that may be read; beyond them the border pixel
    counts. row: int32 of at least 3 * W + 3. work: int32 (2, max(h, w), 2 + taps).
    """
    height, width = out.shape[0], out.shape[1]
    n = work.shape[2] - 2
    taps(height, top, scale_y, box[0], box[1], antialias, work[0, :, n], work[0, :, n + 1], work[0])
    taps(width, left, scale_x, box[2], box[3], antialias, work[1, :, n], work[1, :, n + 1], work[1])
    base, span = 3 * box[2], 3 * (box[3] - box[2] + 1)
    flat = source.reshape(source.shape[0], -1)
    two = n == 2
    if two:  # a second tap for every pixel, of weight 0 where there is one only; the columns in units of the row buffer
        row[span : span + 3] = 0
        for j in range(width):
            work[1, j, 1] = work[1, j, 1] if work[1, j, n + 1] == 2 else 0
            work[1, j, n] = 3 * (work[1, j, n] - box[2])
    for i in range(height):
        _blend_rows(flat, work[0, i, n], work[0, i, n + 1], work[0, i], base, span, row)
        if two:
            _blend_pairs(row, work[1], out[i])
        else:
            _blend_columns(row, work[1], box[2], out[i])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _blend_rows(flat, first, count, weight, base, span, row):
    line, w = flat[first], weight[0]
    if count == 2:
        other, v = flat[first + 1], weight[1]
        for k in range(span):
            row[k] = np.int32(line[base + k]) * w + np.int32(other[base + k]) * v
        return
    for k in range(span):
        row[k] = np.int32(line[base + k]) * w
    for t in range(1, count):
        line, w = flat[first + t], weight[t]
        for k in range(span):
            row[k] += np.int32(line[base + k]) * w


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _blend_pairs(row, work, target):
    half = np.int32(1 << (2 * WEIGHT_BITS - 1))
    width = target.shape[0]
    for j in range(width):
        k, w, v = np.uint32(work[j, 2]), work[j, 0], work[j, 1]
        target[j, 0] = np.uint8((row[k] * w + row[k + np.uint32(3)] * v + half) >> 22)
        target[j, 1] = np.uint8((row[k + np.uint32(1)] * w + row[k + np.uint32(4)] * v + half) >> 22)
        target[j, 2] = np.uint8((row[k + np.uint32(2)] * w + row[k + np.uint32(5)] * v + half) >> 22)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _blend_columns(row, work, left, target):
    half = np.int32(1 << (2 * WEIGHT_BITS - 1))
    width, n = target.shape[0], work.shape[1] - 2
    for j in range(width):
        k = 3 * (work[j, n] - left)
        red, green, blue = half, half, half
        for t in range(work[j, n + 1]):
            w = work[j, t]
            red += row[k] * w
            green += row[k + 1] * w
            blue += row[k + 2] * w
            k += 3
        target[j, 0] = np.uint8(red >> 22)
        target[j, 1] = np.uint8(green >> 22)
        target[j, 2] = np.uint8(blue >> 22)
