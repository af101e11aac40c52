"""Where to cut: boxes of the random resized crop and of the evaluation, drawn from the sample's own counter."""

import math

import numba
import numpy as np

from cellwright.kernels.image.philox import below, philox4, uniform

# Blocks of a sample's random stream. Each use has its own, so that one more augmentation changes nothing in
# the others.
BLOCK_FLIP_AND_PAD = 0
BLOCK_JITTER = 1
BLOCK_CUTOUT = 2
BLOCK_JITTER_ORDER = 3
BLOCK_CROP = 16
CROP_TRIES = 10


@numba.njit(cache=True, nogil=True)
def random_resized_box(height, width, seed, epoch, sample, scale_lo, scale_hi, ratio_lo, ratio_hi):
    """(top, left, height, width) in pixels: area fraction uniform in scale, log aspect ratio uniform, 10
    tries, then a centre crop.

    Szegedy et al., "Going deeper with convolutions", 2014, as all four nets' originals crop. The centre crop
    is the largest whose aspect ratio is allowed.
    """
    log_lo, log_hi = math.log(ratio_lo), math.log(ratio_hi)
    for attempt in range(CROP_TRIES):
        w0, w1, w2, w3 = philox4(seed, epoch, sample, BLOCK_CROP + attempt)
        area = height * width * (scale_lo + (scale_hi - scale_lo) * uniform(w0))
        ratio = math.exp(log_lo + (log_hi - log_lo) * uniform(w1))
        w = int(math.floor(math.sqrt(area * ratio) + 0.5))
        h = int(math.floor(math.sqrt(area / ratio) + 0.5))
        if 0 < w <= width and 0 < h <= height:
            return below(w2, height - h + 1), below(w3, width - w + 1), h, w
    ratio = width / height
    h, w = height, width
    if ratio < ratio_lo:
        h = min(height, max(1, int(math.floor(width / ratio_lo + 0.5))))
    elif ratio > ratio_hi:
        w = min(width, max(1, int(math.floor(height * ratio_hi + 0.5))))
    return np.int64((height - h) // 2), np.int64((width - w) // 2), h, w


@numba.njit(cache=True, nogil=True)
def pad_offsets(pad, seed, epoch, sample):
    """(dy, dx) in [-pad, pad]: where a crop of the image's own size begins in the image padded by `pad`, from
    the image's corner.
    """
    _, w1, w2, _ = philox4(seed, epoch, sample, BLOCK_FLIP_AND_PAD)
    return below(w1, 2 * pad + 1) - pad, below(w2, 2 * pad + 1) - pad


@numba.njit(cache=True, nogil=True)
def flips(probability, seed, epoch, sample):
    """True where this sample is mirrored left to right in this epoch."""
    w0, _, _, _ = philox4(seed, epoch, sample, BLOCK_FLIP_AND_PAD)
    return uniform(w0) < probability
