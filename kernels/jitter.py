"""Colour jitter and CutOut, in place on the picture in the batch."""

import numba
import numpy as np

from kernels.crop import BLOCK_CUTOUT, BLOCK_JITTER, BLOCK_JITTER_ORDER
from kernels.philox import below, philox4, uniform

BRIGHTNESS, CONTRAST, SATURATION, HUE = 0, 1, 2, 3


@numba.njit(cache=True, nogil=True)
def draw_jitter(widths, seed, epoch, sample, order, factor):
    """Fills `order` (4,) with a permutation of the four operations and `factor` (4,) with their strengths.

    The factors are uniform in [max(0, 1 - width), 1 + width], the hue's shift in [-width, width] turns of the circle.
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
def saturate(image, factor):
    """Blends each pixel with its luma: factor 0 is gray, 1 leaves it."""
    flat = image.reshape(-1, 3)
    f = np.float32(factor)
    g = np.float32(1.0) - f
    zero, top, half = np.float32(0.0), np.float32(255.0), np.float32(0.5)
    a, b, c = np.float32(0.299), np.float32(0.587), np.float32(0.114)
    for k in range(flat.shape[0]):
        red, green, blue = np.float32(flat[k, 0]), np.float32(flat[k, 1]), np.float32(flat[k, 2])
        gray = (a * red + b * green + c * blue) * g + half
        flat[k, 0] = np.uint8(np.int32(min(max(red * f + gray, zero), top)))
        flat[k, 1] = np.uint8(np.int32(min(max(green * f + gray, zero), top)))
        flat[k, 2] = np.uint8(np.int32(min(max(blue * f + gray, zero), top)))


@numba.njit(cache=True, nogil=True, error_model="numpy")
def turn_hue(image, shift):
    """Turns each pixel's hue by `shift` turns of the HSV circle; value and saturation stay."""
    flat = image.reshape(-1, 3)
    turn = np.float32(6.0 * (shift - np.floor(shift)))
    one, six, half = np.float32(1.0), np.float32(6.0), np.float32(0.5)
    two, three, four = np.float32(2.0), np.float32(3.0), np.float32(4.0)
    zero = np.float32(0.0)
    for k in range(flat.shape[0]):
        red, green, blue = np.float32(flat[k, 0]), np.float32(flat[k, 1]), np.float32(flat[k, 2])
        top = max(red, green, blue)
        span = top - min(red, green, blue)
        inverse = one / max(span, one)
        hue = (green - blue) * inverse
        hue = two + (blue - red) * inverse if top == green and top != red else hue
        hue = four + (red - green) * inverse if top == blue and top != red and top != green else hue
        hue += turn
        hue = hue + six if hue < zero else hue
        hue = hue - six if hue >= six else hue
        # Each channel is the top less its share of the span, a trapezoid over the circle (Smith, "Color gamut transform pairs", 1978).
        top += half
        r = min(max(two - abs(hue - three), zero), one)
        g = min(max(abs(hue - two) - one, zero), one)
        b = min(max(abs(hue - four) - one, zero), one)
        flat[k, 0] = np.uint8(np.int32(top - span * r))
        flat[k, 1] = np.uint8(np.int32(top - span * g))
        flat[k, 2] = np.uint8(np.int32(top - span * b))


@numba.njit(cache=True, nogil=True)
def jitter(image, widths, seed, epoch, sample, order, factor):
    """Brightness, contrast, saturation and hue by `widths` (4,) on a contiguous (H, W, 3) uint8 picture, in this sample's own order.

    A width of 0 skips its operation. Each rounds to uint8, as the originals' operations do. order, factor: room for four each.
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
            saturate(image, factor[operation])
        else:
            turn_hue(image, factor[operation])


@numba.njit(cache=True, nogil=True)
def cutout(image, side, fill, seed, epoch, sample):
    """Sets a square of `side` pixels round a random centre, less what lies outside, to `fill` (3,) uint8.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """
    height, width = image.shape[0], image.shape[1]
    w0, w1, _, _ = philox4(seed, epoch, sample, BLOCK_CUTOUT)
    top, left = below(w0, height) - side // 2, below(w1, width) - side // 2
    for i in range(max(top, 0), min(top + side, height)):
        for j in range(max(left, 0), min(left + side, width)):
            for c in range(3):
                image[i, j, c] = fill[c]
