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
    for row in range(height):
        x, y = a * 0.5 + b * (row + 0.5) + c, d * 0.5 + e * (row + 0.5) + f
        to = 3 * row * width
        for column in range(width):
            u, v = math.floor(x + a * column), math.floor(y + d * column)
            if 0 <= u < width and 0 <= v < height:
                at = 3 * (np.int64(v) * width + np.int64(u))
                target[to] = source[at]
                target[to + 1] = source[at + 1]
                target[to + 2] = source[at + 2]
            else:
                target[to] = 0
                target[to + 1] = 0
                target[to + 2] = 0
            to += 3


@numba.njit(cache=True, nogil=True)
def rotate(image, degrees, out):
    """Turns a picture about its centre."""
    angle = math.radians(degrees)
    sine, cosine = math.sin(angle), math.cos(angle)
    x, y = image.shape[1] / 2, image.shape[0] / 2
    affine(image, cosine, -sine, x - cosine * x + sine * y, sine, cosine, y - sine * x - cosine * y, out)
