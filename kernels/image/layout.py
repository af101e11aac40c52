"""From the pixels of the wire to the floats that other frameworks want."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def normalise_chw(image, scale, shift, mirrored, row, out):
    """Writes value * scale[c] + shift[c] of `image` (H, W, 3) uint8 to `out` (3, H, W) float32, mirrored
    where asked.

    row: float32 of at least W. One multiplication and one addition, each rounded, so that every machine gives
    the same bits.
    """
    height, width = image.shape[0], image.shape[1]
    last = np.uint64(
        width - 1
    )  # unsigned: an index that may be negative keeps the compiler from vector code, at 3 times the cost
    for i in range(height):
        line = image[i].reshape(-1)
        for c in range(3):
            s, b, target = scale[c], shift[c], out[c, i]
            if mirrored:
                for j in range(width):
                    row[j] = np.float32(line[3 * j + c]) * s + b
                for j in range(width):
                    target[last - np.uint64(j)] = row[j]
            else:
                for j in range(width):
                    target[j] = np.float32(line[3 * j + c]) * s + b


def scale_and_shift(mean, std):
    """(scale, shift), float32 (3,) each: value * scale + shift = (value - mean) / std; mean and std in units
    of 0-255.
    """
    mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
    return (1 / std).astype(np.float32), (-mean / std).astype(np.float32)
