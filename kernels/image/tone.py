"""Operations on the tones of a (H, W, 3) uint8 picture, in place: by tables of 256 values, and sharpness."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True)
def histograms(image, counts):
    """Fills `counts` (3, 256) int64 with how often each channel has each value."""
    # In turn into two tables: a value that comes again at once would wait for the count before it.
    other = np.zeros((3, 256), np.int64)
    counts[:] = 0
    flat = image.reshape(-1)
    for k in range(0, flat.size - 5, 6):
        counts[0, flat[k]] += 1
        counts[1, flat[k + 1]] += 1
        counts[2, flat[k + 2]] += 1
        other[0, flat[k + 3]] += 1
        other[1, flat[k + 4]] += 1
        other[2, flat[k + 5]] += 1
    if flat.size % 6:
        for c in range(3):
            counts[c, flat[flat.size - 3 + c]] += 1
    counts += other


@numba.njit(cache=True, nogil=True)
def look_up(image, tables):
    """Replaces each value by that of its channel's table, `tables` (3, 256) uint8."""
    flat = image.reshape(-1)
    for k in range(0, flat.size, 3):
        flat[k] = tables[0, flat[k]]
        flat[k + 1] = tables[1, flat[k + 1]]
        flat[k + 2] = tables[2, flat[k + 2]]


@numba.njit(cache=True, nogil=True)
def posterize(image, bits):
    """Keeps the `bits` highest bits of each value."""
    mask = np.uint8(256 - (1 << (8 - bits)))
    flat = image.reshape(-1)
    for k in range(flat.size):
        flat[k] &= mask


@numba.njit(cache=True, nogil=True)
def solarize(image, threshold):
    """Inverts the values from `threshold` on."""
    flat = image.reshape(-1)
    for k in range(flat.size):
        flat[k] = flat[k] if flat[k] < threshold else 255 - flat[k]


@numba.njit(cache=True, nogil=True)
def auto_contrast(image, counts, tables):
    """Stretches each channel to 0 to 255."""
    histograms(image, counts)
    for c in range(3):
        low, high = 0, 255
        while counts[c, low] == 0:
            low += 1
        while counts[c, high] == 0:
            high -= 1
        for value in range(256):
            if low == high:
                tables[c, value] = value
            else:
                tables[c, value] = min(max((value - low) * 255 // (high - low), 0), 255)
    look_up(image, tables)


@numba.njit(cache=True, nogil=True)
def equalize(image, counts, tables):
    """Makes each channel's values about equally frequent, as Pillow's `ImageOps.equalize` does."""
    histograms(image, counts)
    for c in range(3):
        last = 255
        while counts[c, last] == 0:
            last -= 1
        step = (image.shape[0] * image.shape[1] - counts[c, last]) // 255
        total = step // 2
        for value in range(256):
            tables[c, value] = value if step == 0 else min(total // step, 255)
            total += counts[c, value]
    look_up(image, tables)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def sharpen(image, factor, spare):
    """Blends with the picture smoothed by (1 1 1, 1 5 1, 1 1 1) / 13: 0 is smooth, 1 leaves it. The border stays.

    spare: uint8 of the picture's size.
    """
    height, width = image.shape[0], 3 * image.shape[1]
    source, target = spare.reshape(-1), image.reshape(-1)
    for k in range(target.size):  # not `source[:] = target`, whose complaint takes 1.7 s to compile
        source[k] = target[k]
    f, rest = np.float32(factor), np.float32((1.0 - factor) / 13.0)
    four, half, zero, top = np.float32(4.0), np.float32(0.5), np.float32(0.0), np.float32(255.0)
    columns = np.empty(width, np.float32)
    for row in range(1, height - 1):
        above = source[(row - 1) * width : row * width]
        line = source[row * width : (row + 1) * width]
        below = source[(row + 1) * width : (row + 2) * width]
        for k in range(width):
            columns[k] = np.float32(above[k]) + np.float32(line[k]) + np.float32(below[k])
        out, line = target[row * width + 3 : (row + 1) * width - 3], line[3:]
        left, middle, right = columns[:-6], columns[3:], columns[6:]
        for k in range(out.size):
            here = np.float32(line[k])
            near = left[k] + middle[k] + right[k] + four * here
            out[k] = np.uint8(np.int32(min(max(near * rest + here * f + half, zero), top)))
