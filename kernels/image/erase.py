"""Rectangles that are overwritten: CutOut's square and random erasing's box."""

import math

import numba

from cellwright.kernels.image.crop import BLOCK_CUTOUT
from cellwright.kernels.image.philox import below, philox4, uniform

BLOCK_ERASE = 48
ERASE_TRIES = 10


@numba.njit(cache=True, nogil=True)
def fill_box(image, top, left, height, width, fill):
    """Sets the part of the box that lies within the picture to `fill` (3,) uint8."""
    for i in range(max(top, 0), min(top + height, image.shape[0])):
        for j in range(max(left, 0), min(left + width, image.shape[1])):
            for c in range(3):
                image[i, j, c] = fill[c]


@numba.njit(cache=True, nogil=True)
def cutout(image, side, fill, seed, epoch, sample):
    """Sets a square of `side` pixels round a random centre, less what lies outside, to `fill` (3,) uint8.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """
    w0, w1, _, _ = philox4(seed, epoch, sample, BLOCK_CUTOUT)
    top, left = below(w0, image.shape[0]) - side // 2, below(w1, image.shape[1]) - side // 2
    fill_box(image, top, left, side, side, fill)


@numba.njit(cache=True, nogil=True)
def erased_box(height, width, probability, scale_lo, scale_hi, ratio_lo, ratio_hi, seed, epoch, sample):
    """(top, left, height, width) of the box to erase, of no height where there is none for this sample.

    Area uniform in scale, log aspect ratio uniform, 10 tries. Zhong et al., "Random erasing data augmentation", 2020.
    """
    chance, _, _, _ = philox4(seed, epoch, sample, BLOCK_ERASE)
    if uniform(chance) >= probability:
        return 0, 0, 0, 0
    log_lo, log_hi = math.log(ratio_lo), math.log(ratio_hi)
    for attempt in range(1, 1 + ERASE_TRIES):
        w0, w1, w2, w3 = philox4(seed, epoch, sample, BLOCK_ERASE + attempt)
        area = height * width * (scale_lo + (scale_hi - scale_lo) * uniform(w0))
        ratio = math.exp(log_lo + (log_hi - log_lo) * uniform(w1))
        h, w = int(math.floor(math.sqrt(area * ratio) + 0.5)), int(math.floor(math.sqrt(area / ratio) + 0.5))
        if 0 < h < height and 0 < w < width:
            return below(w2, height - h + 1), below(w3, width - w + 1), h, w
    return 0, 0, 0, 0
