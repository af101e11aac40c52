"""From the pixels of the wire to the floats that other frameworks want."""

import numba
import numpy as np


@numba.njit(cache=True, nogil=True, error_model="numpy")
def normalise_chw(image, table, mirrored, out):
    """Writes `image` (H, W, 3) uint8 through `table` (3, 256) float32 to `out` (3, H, W) float32, mirrored where asked."""
    height, width = image.shape[0], image.shape[1]
    for i in range(height):
        for c in range(3):
            if mirrored:
                for j in range(width):
                    out[c, i, width - 1 - j] = table[c, image[i, j, c]]
            else:
                for j in range(width):
                    out[c, i, j] = table[c, image[i, j, c]]


def normalise_table(mean, std):
    """(3, 256) float32: (value - mean) / std for every byte and channel; mean and std in units of 0-255."""
    values = np.arange(256, dtype=np.float64)
    return ((values[None] - np.reshape(mean, (3, 1))) / np.reshape(std, (3, 1))).astype(np.float32)
