"""Every pixel kernel against its twin in plain numpy."""

import colorsys

import numpy as np
import pytest

from cellwright.kernels.image.crop import flips, pad_offsets
from cellwright.kernels.image.erase import cutout
from cellwright.kernels.image.jitter import (
    BLOCK,
    draw_jitter,
    jitter,
    mean_gray,
    saturate,
    scale_shift,
    turn_hue,
)
from cellwright.kernels.image.layout import normalise_chw, scale_and_shift
from cellwright.kernels.image.records import crop_padded, crop_records, record_image
from cellwright.kernels.image.resample import resample, taps_needed

RNG = np.random.default_rng(0)
ROOM = np.zeros((4, BLOCK), np.float32)
LUMA = np.array([0.299, 0.587, 0.114])


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def padded_twin(image, dy, dx, mirrored):
    pad = max(abs(dy), abs(dx))
    wide = np.pad(image, ((pad, pad), (pad, pad), (0, 0)))
    part = wide[pad + dy : pad + dy + image.shape[0], pad + dx : pad + dx + image.shape[1]]
    return part[:, ::-1] if mirrored else part


def test_records_are_padded_cropped_and_mirrored():
    records = RNG.integers(0, 256, (20, 3073), dtype=np.uint8)
    ids = np.array([3, 0, 19, 7, 3, 11], np.int64)
    for pad, flip in ((4, 0.5), (0, 0.5), (4, 0.0), (0, 0.0), (31, 1.0)):
        out = RNG.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
        crop_records(records, ids, 5, 2, pad, flip, out)
        for k, got in zip(ids, out):
            image = records[k, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
            dy, dx = pad_offsets(pad, 5, 2, k) if pad else (0, 0)
            assert np.array_equal(got, padded_twin(image, dy, dx, flips(flip, 5, 2, k)))
    assert np.array_equal(record_image(records[4]), records[4, 1:].reshape(3, 32, 32).transpose(1, 2, 0))


def test_pictures_are_padded_cropped_and_mirrored():
    image = noise(20, 30)
    for dy, dx, mirrored in ((0, 0, False), (0, 0, True), (3, -4, False), (-5, 7, True)):
        out = noise(20, 30)
        crop_padded(image, dy, dx, mirrored, out)
        assert np.array_equal(out, padded_twin(image, dy, dx, mirrored))


def test_normalise_is_the_formula():
    image, mean, std = noise(9, 7), (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    want = ((image - np.float64(mean)) / std).transpose(2, 0, 1)
    for mirrored in (False, True):
        out = np.empty((3, 9, 7), np.float32)
        normalise_chw(image, *scale_and_shift(mean, std), mirrored, np.empty(7, np.float32), out)
        np.testing.assert_allclose(out, want[..., ::-1] if mirrored else want, rtol=1e-6, atol=1e-6)


def resample_twin(source, top, left, scale_y, scale_x, box, antialias, height, width):
    def matrix(size, origin, scale, first, last, n):
        reach = max(scale, 1.0) if antialias else 1.0
        centre = (np.arange(size) + 0.5) * scale - 0.5 + origin
        if reach == 1.0:
            centre = np.clip(centre, first, last)
        k = np.arange(n)
        w = np.maximum(0, 1 - np.abs(k[None] - centre[:, None]) / reach) * ((k >= first) & (k <= last))
        return w / w.sum(1, keepdims=True)

    rows = matrix(height, top, scale_y, box[0], box[1], source.shape[0])
    columns = matrix(width, left, scale_x, box[2], box[3], source.shape[1])
    return np.einsum("iy,jx,yxc->ijc", rows, columns, source.astype(np.float64))


@pytest.mark.parametrize("antialias", (False, True))
@pytest.mark.parametrize("case", (
    (40, 50, 0, 0, 40, 50, 16, 16), (40, 50, 3, 7, 30, 20, 33, 41), (9, 9, 0, 0, 9, 9, 9, 9),
    (40, 50, 5.5, 6.25, 20.5, 31.75, 16, 24), (5, 4, 1, 1, 2, 2, 17, 13), (200, 300, 10, 20, 180, 270, 12, 10),
    (2, 2, 0, 0, 2, 2, 1, 1), (7, 7, 3, 3, 1, 1, 5, 5),
))  # fmt: skip
def test_resample_is_the_weighted_sum(case, antialias):
    rows, columns, top, left, h, w, height, width = case
    source = noise(rows, columns)
    box = int(top), int(np.ceil(top + h)) - 1, int(left), int(np.ceil(left + w)) - 1
    out = np.empty((height, width, 3), np.uint8)
    starts, row = np.zeros((2, max(height, width)), np.int64), np.empty(3 * columns + 1, np.float32)
    down, across = (
        np.empty((size, taps_needed(length / size, antialias, box[k + 1] - box[k] + 1)), np.float32)
        for size, length, k in ((height, h, 0), (width, w, 2))
    )
    where = float(top), float(left), h / height, w / width, box
    resample(source, *where, antialias, out, row, starts, down, across)
    want = resample_twin(source, top, left, h / height, w / width, box, antialias, height, width)
    assert np.abs(out - want).max() < 0.501


def rounded(values):
    return np.floor(np.clip(values + 0.5, 0, 255)).astype(np.uint8)


def test_brightness_contrast_and_saturation_are_their_formulas():
    for factor in (0.0, 0.6, 1.0, 1.4):
        image = noise(41, 53)  # more pixels than a block
        gray = image @ LUMA
        got = image.copy()
        scale_shift(got.reshape(-1), factor, 0.0)
        assert np.abs(got.astype(int) - rounded(image * factor)).max() <= (0 if factor in (0, 1) else 1)
        assert mean_gray(image) == pytest.approx(gray.mean())
        got = image.copy()
        saturate(got, factor, ROOM)
        assert np.abs(got.astype(int) - rounded(image * factor + gray[..., None] * (1 - factor))).max() <= 1
        assert factor != 1.0 or np.array_equal(got, image)


@pytest.mark.parametrize("shift", (-0.5, -0.13, 0.0, 0.07, 0.5))
def test_hue_turns_as_in_hsv(shift):
    image = noise(16, 80)
    image[0, :4] = [[0, 0, 0], [255, 255, 255], [9, 9, 9], [200, 200, 10]]
    got = image.copy()
    turn_hue(got, shift, ROOM)
    want = np.empty(image.shape)
    for at in np.ndindex(16, 80):
        h, s, v = colorsys.rgb_to_hsv(*(image[at] / 255))
        want[at] = colorsys.hsv_to_rgb((h + shift) % 1, s, v)
    assert np.abs(got - want * 255).max() <= 0.51
    assert shift != 0.0 or np.array_equal(got, image)


def test_jitter_applies_its_four_operations_in_the_drawn_order():
    widths = np.array([0.4, 0.3, 0.2, 0.1])
    order, factor = np.zeros(4, np.int64), np.zeros(4)
    orders = set()
    for sample in range(200):
        image = noise(6, 6)
        want = image.copy()
        draw_jitter(widths, 1, 2, sample, order, factor)
        orders.add(tuple(order))
        assert np.all(np.abs(factor[:3] - 1) <= widths[:3]) and abs(factor[3]) <= 0.1
        for k in order.tolist():
            if k == 0:
                scale_shift(want.reshape(-1), factor[0], 0.0)
            elif k == 1:
                scale_shift(want.reshape(-1), factor[1], (1 - factor[1]) * mean_gray(want))
            elif k == 2:
                saturate(want, factor[2], ROOM)
            else:
                turn_hue(want, factor[3], ROOM)
        jitter(image, widths, 1, 2, sample, np.zeros(4, np.int64), np.zeros(4), ROOM)
        assert np.array_equal(image, want)
    assert len(orders) == 24
    image = noise(6, 6)
    same = image.copy()
    jitter(same, np.zeros(4), 1, 2, 3, order, factor, ROOM)
    assert np.array_equal(same, image)


def test_cutout_sets_one_square_and_nothing_else():
    fill = np.array([1, 2, 3], np.uint8)
    centres = []
    for sample in range(300):
        image = np.full((20, 24, 3), 100, np.uint8)
        cutout(image, 7, fill, 0, 0, sample)
        rows, columns = np.nonzero(image[..., 0] == 1)
        h, w = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert h <= 7 and w <= 7 and rows.size == h * w and (image[rows, columns] == fill).all()
        assert (image[..., 0] == 100).sum() == 20 * 24 - h * w
        assert (h == 7 or rows.min() == 0 or rows.max() == 19) and (w == 7 or columns.min() == 0 or columns.max() == 23)
        centres.append((rows.mean(), columns.mean()))
    assert np.ptp(np.array(centres), axis=0).min() > 14
