"""Colour jitter, in place on the picture in the batch."""

import numba
import numpy as np

from cellwright.kernels.image.crop import BLOCK_JITTER, BLOCK_JITTER_ORDER
from cellwright.kernels.image.philox import below, philox4, uniform

BRIGHTNESS, CONTRAST, SATURATION, HUE = 0, 1, 2, 3
BLOCK = 1024


@numba.njit(cache=True, nogil=True)
def draw_jitter(widths, seed, epoch, sample, order, factor):
    """Fills `order` (4,) with a permutation of the four operations and `factor` (4,) with their strengths.

    The factors are uniform in [max(0, 1 - width), 1 + width], the hue's shift in [-width, width] turns of the
    circle.
    """
    words = philox4(seed, epoch, sample, BLOCK_JITTER)
    shuffle, _, _, _ = philox4(seed, epoch, sample, BLOCK_JITTER_ORDER)
    for k in range(3):
        low = max(0.0, 1.0 - widths[k])
        factor[k] = low + (1.0 + widths[k] - low) * uniform(words[k])
    factor[HUE] = widths[HUE] * (2.0 * uniform(words[3]) - 1.0)
    number = below(shuffle, 24)
    for k in range(4):
        order[k] = k
    for k in range(3, 0, -1):
        j = number % (k + 1)
        number //= k + 1
        order[k], order[j] = order[j], order[k]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def scale_shift(flat, factor, shift):
    """value * factor + shift on uint8 `flat`, rounded and clipped."""
    f, s = np.float32(factor), np.float32(shift + 0.5)
    for k in range(flat.size):
        v = np.float32(flat[k]) * f + s
        flat[k] = np.uint8(np.int32(min(max(v, np.float32(0.0)), np.float32(255.0))))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def mean_gray(image):
    """Mean luma (ITU-R BT.601) of a uint8 picture."""
    flat = image.reshape(-1, 3)
    red, green, blue = np.int64(0), np.int64(0), np.int64(0)
    for k in range(flat.shape[0]):
        red += flat[k, 0]
        green += flat[k, 1]
        blue += flat[k, 2]
    return (0.299 * red + 0.587 * green + 0.114 * blue) / flat.shape[0]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def saturate(image, factor, room):
    """Blends each pixel with its luma: factor 0 is gray, 1 leaves it. room: float32 (4, BLOCK)."""
    flat = image.reshape(-1)
    f = np.float32(factor)
    rest = np.float32(1.0) - f
    a, b, c = np.float32(0.299) * rest, np.float32(0.587) * rest, np.float32(0.114) * rest
    zero, top, half = np.float32(0.0), np.float32(255.0), np.float32(0.5)
    gray, wide = room[0], room[1:4].reshape(-1)
    for at in range(0, flat.size // 3, BLOCK):
        # Three plain loops: as one, over three channels at a stride, this is not vector code and takes 8
        # times as long.
        line = flat[3 * at : 3 * (at + BLOCK)]
        count = line.size // 3
        for k in range(count):
            gray[k] = (
                a * np.float32(line[3 * k]) + b * np.float32(line[3 * k + 1]) + c * np.float32(line[3 * k + 2]) + half
            )
        for k in range(count):
            y = gray[k]
            wide[3 * k], wide[3 * k + 1], wide[3 * k + 2] = y, y, y
        for k in range(3 * count):
            line[k] = np.uint8(np.int32(min(max(np.float32(line[k]) * f + wide[k], zero), top)))


@numba.njit(cache=True, nogil=True)
def _clip(value):
    low = value if value > np.float32(0.0) else np.float32(0.0)
    return low if low < np.float32(1.0) else np.float32(1.0)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def turn_hue(image, shift, room):
    """Turns each pixel's hue by `shift` turns of the HSV circle; value and saturation stay. room: float32 (4,
    BLOCK).
    """
    flat = image.reshape(-1)
    turn = np.float32(6.0 * (shift - np.floor(shift)))
    zero, half, one, two = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
    three, four, six = np.float32(3.0), np.float32(4.0), np.float32(6.0)
    reds, greens, blues = room[0], room[1], room[2]
    for at in range(0, flat.size // 3, BLOCK):
        line = flat[3 * at : 3 * (at + BLOCK)]
        count = line.size // 3
        for k in range(count):
            reds[k], greens[k], blues[k] = line[3 * k], line[3 * k + 1], line[3 * k + 2]
        for k in range(count):
            red, green, blue = reds[k], greens[k], blues[k]
            top = red if red > green else green
            top = top if top > blue else blue
            low = red if red < green else green
            low = low if low < blue else blue
            span = top - low
            inverse = one / (span if span > one else one)
            from_red = (green - blue) * inverse
            from_green = two + (blue - red) * inverse
            from_blue = four + (red - green) * inverse
            hue = turn + (from_red if top == red else (from_green if top == green else from_blue))
            hue = hue + six if hue < zero else hue
            hue = hue - six if hue >= six else hue
            # Each channel is the top less its share of the span, a trapezoid over the circle (Smith, "Color
            # gamut transform pairs", 1978).
            top += half
            reds[k] = top - span * _clip(two - abs(hue - three))
            greens[k] = top - span * _clip(abs(hue - two) - one)
            blues[k] = top - span * _clip(abs(hue - four) - one)
        for k in range(count):
            line[3 * k], line[3 * k + 1] = np.uint8(np.int32(reds[k])), np.uint8(np.int32(greens[k]))
            line[3 * k + 2] = np.uint8(np.int32(blues[k]))


@numba.njit(cache=True, nogil=True)
def jitter(image, widths, seed, epoch, sample, order, factor, room):
    """Brightness, contrast, saturation and hue by `widths` (4,) on a contiguous (H, W, 3) uint8 picture, in
    this sample's own order.

    A width of 0 skips its operation. Each rounds to uint8, as the originals' operations do. order, factor: of
    four each. room: float32 (4, BLOCK).
    """
    draw_jitter(widths, seed, epoch, sample, order, factor)
    for k in range(4):
        operation = order[k]
        if widths[operation] == 0.0:
            continue
        if operation == BRIGHTNESS:
            scale_shift(image.reshape(-1), factor[operation], 0.0)
        elif operation == CONTRAST:
            scale_shift(image.reshape(-1), factor[operation], (1.0 - factor[operation]) * mean_gray(image))
        elif operation == SATURATION:
            saturate(image, factor[operation], room)
        else:
            turn_hue(image, factor[operation], room)
