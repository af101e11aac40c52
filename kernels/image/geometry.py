"""Shear, shift and rotation of a picture by the nearest pixel, black beyond its border."""

import math

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def affine(image, a, b, c, d, e, f, out):
    """Writes to `out` what `image`, both (H, W, 3) uint8, has at column a x + b y + c and row d x + e y + f.

    x and y are those of the pixels' centres, (column + 0.5, row + 0.5).
    """
    height, width = image.shape[0], image.shape[1]
    source, target = image.reshape(-1), out.reshape(-1)
    far = 65536.0  # beyond any coordinate, so that truncation rounds down
    for row in range(height):
        x, y = a * 0.5 + b * (row + 0.5) + c + far, d * 0.5 + e * (row + 0.5) + f + far
        to = np.uint64(3 * row * width)
        for column in range(width):
            u, v = np.int64(x + a * column) - 65536, np.int64(y + d * column) - 65536
            if 0 <= u < width and 0 <= v < height:
                at = np.uint64(3 * (v * width + u))
                target[to] = source[at]
                target[to + np.uint64(1)] = source[at + np.uint64(1)]
                target[to + np.uint64(2)] = source[at + np.uint64(2)]
            else:
                target[to] = 0
                target[to + np.uint64(1)] = 0
                target[to + np.uint64(2)] = 0
            to += np.uint64(3)


@numba.njit(cache=True, nogil=True)
def shift_rows(image, slope, offset, out):
    """`affine` with a = e = 1, b = slope, c = offset and d = f = 0: each row moves as a whole."""
    height, width = image.shape[0], image.shape[1]
    source, target = image.reshape(-1), out.reshape(-1)
    for row in range(height):
        shift = int(math.floor(0.5 + slope * (row + 0.5) + offset))
        first, end = min(max(-shift, 0), width), max(min(width - shift, width), 0)
        line, to = target[3 * row * width : 3 * (row + 1) * width], 3 * (row * width + shift)
        line[: 3 * first] = 0
        if first < end:
            line[3 * first : 3 * end] = source[to + 3 * first : to + 3 * end]
        line[3 * max(first, end) :] = 0


@numba.njit(cache=True, nogil=True)
def rotate(image, degrees, out):
    """Turns a picture about its centre."""
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    x, y = image.shape[1] / 2, image.shape[0] / 2
    affine(image, cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y, out)
