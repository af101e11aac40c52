"""RandAugment and TrivialAugment: random operations on a picture, in place, drawn from the sample's own counter."""

import numba
import numpy as np

from cellwright.kernels.image.geometry import affine, rotate, shift_rows
from cellwright.kernels.image.jitter import mean_gray, saturate, scale_shift
from cellwright.kernels.image.philox import below, philox4
from cellwright.kernels.image.tone import auto_contrast, equalize, posterize, sharpen, solarize

(IDENTITY, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y, ROTATE, BRIGHTNESS, COLOR, CONTRAST, SHARPNESS, POSTERIZE,
 SOLARIZE, AUTO_CONTRAST, EQUALIZE) = range(14)  # fmt: skip
OPERATIONS = 14
BINS = 31
BLOCK_POLICY = 32
"""The first block of the sample's random stream for them, one an operation."""
MOST_OPERATIONS = 8


@numba.njit(cache=True, nogil=True)
def rand_strength(operation, level, side):
    """How strong RandAugment's `operation` is at `level`, 0 to 30, on pictures of `side` pixels.

    Cubuk et al., "RandAugment", 2020, with the ranges that torchvision has.
    """
    share = level / (BINS - 1)
    if operation in (SHEAR_X, SHEAR_Y):
        return 0.3 * share
    if operation in (TRANSLATE_X, TRANSLATE_Y):
        return np.floor(150.0 / 331.0 * side * share)
    if operation == ROTATE:
        return 30.0 * share
    if operation == POSTERIZE:
        return 8.0 - np.rint(4.0 * share)
    if operation == SOLARIZE:
        return 255.0 * (1.0 - share)
    return 0.9 * share


@numba.njit(cache=True, nogil=True)
def trivial_strength(operation, level):
    """How strong TrivialAugment's `operation` is at `level`, 0 to 30.

    Mueller and Hutter, "TrivialAugment", 2021: its wide ranges, as torchvision has them.
    """
    share = level / (BINS - 1)
    if operation in (TRANSLATE_X, TRANSLATE_Y):
        return np.floor(32.0 * share)
    if operation == ROTATE:
        return 135.0 * share
    if operation == POSTERIZE:
        return 8.0 - np.rint(6.0 * share)
    if operation == SOLARIZE:
        return 255.0 * (1.0 - share)
    return 0.99 * share


def _move(image, operation, strength, spare):
    if operation == SHEAR_X:
        shift_rows(image, strength, 0.0, spare)
    elif operation == SHEAR_Y:
        affine(image, 1.0, 0.0, 0.0, strength, 1.0, 0.0, spare)
    elif operation == TRANSLATE_X:
        shift_rows(image, 0.0, -strength, spare)
    elif operation == TRANSLATE_Y:
        affine(image, 1.0, 0.0, 0.0, 0.0, 1.0, -strength, spare)
    else:
        rotate(image, strength, spare)
    image.reshape(-1)[:] = spare.reshape(-1)


# In Python and not in numba: as one function, that takes 20 s to compile, with every operation within.
def operate(image, operation, strength, spare, room, counts, tables):
    """Does one operation to a contiguous (H, W, 3) uint8 picture.

    spare: uint8 of its shape. room: float32 (4, BLOCK) as `jitter` has it. counts: int64 (3, 256). tables: uint8
    (3, 256).
    """
    if SHEAR_X <= operation <= ROTATE:
        _move(image, operation, strength, spare)
    elif operation == BRIGHTNESS:
        scale_shift(image.reshape(-1), 1.0 + strength, 0.0)
    elif operation == COLOR:
        saturate(image, 1.0 + strength, room)
    elif operation == CONTRAST:
        scale_shift(image.reshape(-1), 1.0 + strength, -strength * mean_gray(image))
    elif operation == SHARPNESS:
        sharpen(image, 1.0 + strength, spare)
    elif operation == POSTERIZE:
        posterize(image, int(strength))
    elif operation == SOLARIZE:
        solarize(image, strength)
    elif operation == AUTO_CONTRAST:
        auto_contrast(image, counts, tables)
    elif operation == EQUALIZE:
        equalize(image, counts, tables)


@numba.njit(cache=True, nogil=True)
def draw_operation(number, magnitude, side, seed, epoch, sample):
    """(operation, strength) of a sample's operation `number`; magnitude: RandAugment's level, or -1 for TrivialAugment,
    which draws it.
    """
    w0, w1, w2, _ = philox4(seed, epoch, sample, BLOCK_POLICY + number)
    operation = below(w0, OPERATIONS)
    strength = (
        rand_strength(operation, magnitude, side) if magnitude >= 0 else trivial_strength(operation, below(w1, BINS))
    )
    if SHEAR_X <= operation <= SHARPNESS and w2 & np.uint64(1):
        strength = -strength
    return operation, strength


def augment(image, count, magnitude, seed, epoch, sample, spare, room, counts, tables):
    """Does `count` operations drawn for the sample; see `draw_operation` and `operate`."""
    for number in range(count):
        operation, strength = draw_operation(number, magnitude, image.shape[1], seed, epoch, sample)
        operate(image, operation, strength, spare, room, counts, tables)
