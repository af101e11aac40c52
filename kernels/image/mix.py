"""Mixup and CutMix of the pictures of a batch, in place: each with the one at the same place from the other end."""

import math

import numba
import numpy as np

from cellwright.kernels.image.philox import below, philox4, uniform

BLOCK_MIX = 64
BETA_TRIES = 60


@numba.njit(cache=True, nogil=True)
def draw_beta(alpha, seed, epoch, sample):
    """A number of the Beta(alpha, alpha) distribution, 0 < alpha <= 2, from the sample's own counter (Joehnk, 1964)."""
    for attempt in range(BETA_TRIES):
        w0, w1, _, _ = philox4(seed, epoch, sample, BLOCK_MIX + 1 + attempt)
        x, y = math.pow(uniform(w0), 1.0 / alpha), math.pow(uniform(w1), 1.0 / alpha)
        if 0.0 < x + y <= 1.0:
            return x / (x + y)
    return 0.5


@numba.njit(cache=True, nogil=True)
def draw_mix(mixup, cutmix, height, width, seed, epoch, sample):
    """(share of its own, top, left, height, width) for a sample; a box of no height is mixup.

    Each with probability 1/2 where both alphas are above 0. The share of CutMix is that of the pixels that stay.
    Zhang et al., "mixup", 2018; Yun et al., "CutMix", 2019.
    """
    choice, row, column, _ = philox4(seed, epoch, sample, BLOCK_MIX)
    if cutmix == 0.0 or (mixup > 0.0 and uniform(choice) < 0.5):
        return draw_beta(mixup, seed, epoch, sample), 0, 0, 0, 0
    side = math.sqrt(1.0 - draw_beta(cutmix, seed, epoch, sample))
    h, w = int(height * side), int(width * side)
    y, x = below(row, height), below(column, width)
    top, left = max(y - h // 2, 0), max(x - w // 2, 0)
    h, w = min(y + h // 2, height) - top, min(x + w // 2, width) - left
    if h <= 0 or w <= 0:
        return 1.0, 0, 0, 1, 0
    return 1.0 - h * w / (height * width), top, left, h, w


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _blend(image, other, share, rounding):
    """image * share + other * (1 - share) + rounding."""
    a, b, half = np.float32(share), np.float32(1.0 - share), np.float32(rounding)
    for k in range(image.size):
        image[k] = np.float32(image[k]) * a + np.float32(other[k]) * b + half


# Loops and not `to[...] = image[...]`, whose complaint about shapes takes 1.5 s to compile.
@numba.njit(cache=True, nogil=True)
def _copy_box(planes, other, top, left, height, width):
    """Copies a box of each of the planes, (planes, H, W)."""
    for plane in range(planes.shape[0]):
        for row in range(top, top + height):
            to, line = planes[plane, row], other[plane, row]
            for k in range(left, left + width):
                to[k] = line[k]


@numba.njit(cache=True, nogil=True)
def _apply(image, other, drawn, last):
    share, top, left, height, width = drawn
    if height == 0:
        _blend(image.reshape(-1), other.reshape(-1), share, 0.5 if last else 0.0)
    elif last:
        rows, channels = image.shape[0], image.shape[2]
        flat = 1, rows, image.shape[1] * channels
        _copy_box(image.reshape(flat), other.reshape(flat), top, channels * left, height, channels * width)
    else:
        _copy_box(image, other, top, left, height, width)


@numba.njit(cache=True, nogil=True)
def mix_batch(images, ids, mixup, cutmix, seed, epoch, last, spare, shares):
    """Mixes place i of `images` (B, ...) with place B - 1 - i, each by what is drawn for its own sample.

    last: channels are the last axis and not the first. spare: of one picture's shape and type. shares: float32 (B,),
    filled with each picture's share of its own; 1 for the middle one, which has no partner.
    """
    height, width = (images.shape[1], images.shape[2]) if last else (images.shape[2], images.shape[3])
    count = ids.size
    shares[count // 2] = 1.0
    for i in range(count // 2):
        j = count - 1 - i
        mine = draw_mix(mixup, cutmix, height, width, seed, epoch, ids[i])
        other = draw_mix(mixup, cutmix, height, width, seed, epoch, ids[j])
        to, line = spare.reshape(-1), images[i].reshape(-1)
        for k in range(to.size):
            to[k] = line[k]
        _apply(images[i], images[j], mine, last)
        _apply(images[j], spare, other, last)
        shares[i], shares[j] = mine[0], other[0]
