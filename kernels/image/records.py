"""CIFAR-10 records and other small images: pad, crop and mirror straight into the batch."""

import numba
import numpy as np

from cellwright.kernels.image.crop import flips, pad_offsets

SIDE = 32
RECORD_BYTES = 1 + 3 * SIDE * SIDE


@numba.njit(cache=True, nogil=True)
def crop_records(records, ids, seed, epoch, pad, flip, out):
    """Writes the pictures `ids` of `records` (N, 3073) uint8, label byte and three planes each, to `out` (n,
    32, 32, 3) uint8.

    Each is shifted by up to `pad` pixels with zeros beyond the border (0: not) and mirrored with probability
    `flip`.
    """
    for n in range(ids.size):
        record = records[ids[n]]
        dy, dx = 0, 0
        if pad > 0:
            dy, dx = pad_offsets(pad, seed, epoch, ids[n])
        mirrored = flip > 0.0 and flips(flip, seed, epoch, ids[n])
        picture = out[n]
        if dy != 0 or dx != 0:
            picture[:] = 0
        first, last = max(0, -dx), min(SIDE, SIDE - dx)
        for i in range(max(0, -dy), min(SIDE, SIDE - dy)):
            base = 1 + (i + dy) * SIDE + dx
            row = picture[i]
            if mirrored:
                for j in range(first, last):
                    for c in range(3):
                        row[SIDE - 1 - j, c] = record[base + j + c * SIDE * SIDE]
            else:
                for j in range(first, last):
                    for c in range(3):
                        row[j, c] = record[base + j + c * SIDE * SIDE]


@numba.njit(cache=True, nogil=True)
def crop_padded(image, dy, dx, mirrored, out):
    """Writes `image` (H, W, 3) uint8 shifted by (dy, dx), zeros beyond its border, perhaps mirrored, to `out`
    of the same shape.
    """
    height, width = image.shape[0], image.shape[1]
    if dy != 0 or dx != 0:
        out[:] = 0
    first, last = max(0, -dx), min(width, width - dx)
    for i in range(max(0, -dy), min(height, height - dy)):
        for j in range(first, last):
            k = width - 1 - j if mirrored else j
            for c in range(3):
                out[i, k, c] = image[i + dy, j + dx, c]


@numba.njit(cache=True, nogil=True)
def record_image(record):
    """(32, 32, 3) uint8 pixels of one record (3073,) uint8."""
    out = np.empty((SIDE, SIDE, 3), np.uint8)
    for i in range(SIDE):
        for j in range(SIDE):
            for c in range(3):
                out[i, j, c] = record[1 + c * SIDE * SIDE + i * SIDE + j]
    return out
