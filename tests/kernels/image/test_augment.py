"""Augmentations against their twins in plain numpy, and the distributions of what is drawn."""

import numpy as np
import pytest

from cellwright.kernels.image import policy, tone
from cellwright.kernels.image.erase import erased_box, fill_box
from cellwright.kernels.image.geometry import affine, rotate
from cellwright.kernels.image.jitter import BLOCK, mean_gray, saturate, scale_shift
from cellwright.kernels.image.mix import draw_beta, draw_mix, mix_batch

RNG = np.random.default_rng(3)
ROOM, COUNTS, TABLES = np.zeros((4, BLOCK), np.float32), np.zeros((3, 256), np.int64), np.zeros((3, 256), np.uint8)


def noise(height, width):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def affine_twin(image, matrix):
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width] + 0.5
    u, v = np.floor(np.einsum("ij,jyx->iyx", matrix, np.stack([x, y, np.ones_like(x)]))).astype(int)
    inside = (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return np.where(inside[..., None], image[np.clip(v, 0, height - 1), np.clip(u, 0, width - 1)], 0)


def test_affine_takes_the_nearest_pixel_and_black_beyond():
    image = noise(21, 34)
    shears = [[1, 0.31, 0], [0, 1, 0]], [[1, 0, 0], [-0.27, 1, 0]]
    for matrix in (*shears, [[1, 0, -7], [0, 1, 3]], [[0.5, 0, 1], [0, 2, 0]]):
        out = noise(21, 34)
        affine(image, *np.array(matrix, float).ravel().tolist(), out)
        assert np.array_equal(out, affine_twin(image, np.array(matrix)))


@pytest.mark.parametrize("degrees", (0.0, 90.0, 180.0, 12.5, -77.0))
def test_rotation_turns_about_the_centre(degrees):
    image, out = noise(31, 31), noise(31, 31)
    rotate(image, degrees, out)
    if degrees in (0.0, 180.0):
        assert np.array_equal(out, image if not degrees else image[::-1, ::-1])
    assert np.array_equal(out[15, 15], image[15, 15])
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.column_stack([turn, 15.5 - turn @ (15.5, 15.5)])
    assert (out != affine_twin(image, matrix)).any(2).mean() < 0.01  # where rounding decides


def test_tables_of_tones_are_their_formulas():
    image = noise(30, 40) // 3 + 40
    for bits in range(1, 9):
        got = image.copy()
        tone.posterize(got, bits)
        assert np.array_equal(got, image >> (8 - bits) << (8 - bits))
    for threshold in (0.0, 80.5, 255.0):
        got = image.copy()
        tone.solarize(got, threshold)
        assert np.array_equal(got, np.where(image < threshold, image, 255 - image))
    got = image.copy()
    tone.auto_contrast(got, COUNTS, TABLES)
    low, high = (f(image.reshape(-1, 3).astype(int), 0) for f in (np.min, np.max))
    assert np.array_equal(got, (image.astype(int) - low) * 255 // (high - low))
    flat = np.full((5, 5, 3), 9, np.uint8)
    tone.auto_contrast(flat, COUNTS, TABLES)
    assert (flat == 9).all()


def equalize_twin(channel):
    counts = np.bincount(channel.ravel(), minlength=256)
    step = (channel.size - counts[np.flatnonzero(counts)[-1]]) // 255
    if not step:
        return channel
    before = np.concatenate([[0], np.cumsum(counts)[:-1]])
    return np.minimum((before + step // 2) // step, 255)[channel]


def test_equalize_and_sharpen_are_their_formulas():
    for image in (noise(40, 50) // 2, noise(3, 3), np.full((9, 9, 3), 7, np.uint8)):
        got = image.copy()
        tone.equalize(got, COUNTS, TABLES)
        assert np.array_equal(got, np.dstack([equalize_twin(image[..., c]) for c in range(3)]))
    image, spare = noise(20, 23), noise(20, 23)
    for factor in (0.0, 0.4, 1.0, 1.9):
        got = image.copy()
        tone.sharpen(got, factor, spare)
        near = sum(
            np.roll(image.astype(int), (y, x), (0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)
        ) + 4 * image.astype(int)
        want = np.clip(near / 13 * (1 - factor) + factor * image, 0, 255)
        assert np.abs(got[1:-1, 1:-1] - want[1:-1, 1:-1]).max() <= 0.51
        assert np.array_equal(got[0], image[0]) and np.array_equal(got[:, -1], image[:, -1])


def test_a_policy_does_the_drawn_operations_one_after_the_other():
    seen = set()
    for sample in range(300):
        image, spare = noise(20, 20), noise(20, 20)
        want = image.copy()
        for number in range(2):
            operation, strength = policy.draw_operation(number, 9, 20, 5, 1, sample)
            seen.add((operation, np.sign(strength)))
            if operation == policy.BRIGHTNESS:
                scale_shift(want.reshape(-1), 1 + strength, 0.0)
            elif operation == policy.COLOR:
                saturate(want, 1 + strength, ROOM)
            elif operation == policy.CONTRAST:
                scale_shift(want.reshape(-1), 1 + strength, -strength * mean_gray(want))
            elif policy.SHEAR_X <= operation <= policy.TRANSLATE_Y:
                matrix = np.eye(3)[:2]
                row, column = {1: (0, 1), 2: (1, 0), 3: (0, 2), 4: (1, 2)}[operation]
                matrix[row, column] = strength if operation < policy.TRANSLATE_X else -strength
                want = affine_twin(want, matrix).astype(np.uint8)
            else:
                policy.operate(want, operation, strength, spare, ROOM, COUNTS, TABLES)
        policy.augment(image, 2, 9, 5, 1, sample, spare, ROOM, COUNTS, TABLES)
        assert np.array_equal(image, want)
    assert {operation for operation, _ in seen} == set(range(14))
    assert {sign for operation, sign in seen if operation == policy.ROTATE} == {-1, 1}


def test_strengths_cover_the_published_ranges():
    assert policy.rand_strength(policy.ROTATE, 30, 224) == 30 and policy.rand_strength(policy.SHEAR_X, 15, 224) == 0.15
    assert (
        policy.rand_strength(policy.TRANSLATE_X, 30, 331) == 150 and policy.rand_strength(policy.POSTERIZE, 30, 9) == 4
    )
    assert policy.trivial_strength(policy.ROTATE, 30) == 135 and policy.trivial_strength(policy.POSTERIZE, 30) == 2
    assert policy.trivial_strength(policy.TRANSLATE_Y, 30) == 32 and policy.trivial_strength(policy.SOLARIZE, 0) == 255
    levels = {policy.draw_operation(0, -1, 224, 0, 0, k) for k in range(3000)}
    assert len({strength for operation, strength in levels if operation == policy.BRIGHTNESS}) > 50


def test_random_erasing_takes_boxes_of_the_asked_area_and_ratio():
    found = [erased_box(100, 120, 0.25, 0.02, 0.33, 0.3, 3.3, 1, 0, k) for k in range(4000)]
    boxes = np.array([box for box in found if box[2]])
    assert 0.22 < len(boxes) / 4000 < 0.28
    top, left, h, w = boxes.T
    assert (top >= 0).all() and (top + h <= 100).all() and (left + w <= 120).all()
    area, ratio = h * w / 12000, h / w
    assert 0.015 < area.min() < 0.05 and 0.3 < area.max() < 0.345 and 0.28 < ratio.min() and ratio.max() < 3.6
    image, fill = noise(30, 30), np.array([1, 2, 3], np.uint8)
    want = image.copy()
    want[3:10, 4:20] = fill
    fill_box(image, 3, 4, 7, 16, fill)
    assert np.array_equal(image, want)


@pytest.mark.parametrize("alpha", (0.2, 0.8, 1.0, 2.0))
def test_beta_has_its_mean_and_variance(alpha):
    drawn = np.array([draw_beta(alpha, 1, 2, k) for k in range(6000)])
    assert abs(drawn.mean() - 0.5) < 0.02
    assert drawn.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


@pytest.mark.parametrize("mixup, cutmix", ((0.2, 0.0), (0.0, 1.0), (0.8, 1.0)))
@pytest.mark.parametrize("last", (True, False))
@pytest.mark.parametrize("count", (8, 7))
def test_a_batch_is_mixed_with_itself_from_the_other_end(mixup, cutmix, last, count):
    shape = (count, 24, 20, 3) if last else (count, 3, 24, 20)
    images = RNG.integers(0, 256, shape, dtype=np.uint8) if last else RNG.normal(size=shape).astype(np.float32)
    ids, before, shares = RNG.permutation(1000)[:count], images.copy(), np.zeros(count, np.float32)
    mix_batch(images, ids, mixup, cutmix, 3, 1, last, np.empty_like(images[0]), shares)
    for i in range(count):
        own, other = before[i], before[count - 1 - i]
        share, top, left, h, w = draw_mix(mixup, cutmix, 24, 20, 3, 1, ids[i])
        if 2 * i + 1 == count:
            share, h, other = 1.0, 0, own
        assert shares[i] == np.float32(share)
        if h:
            box = (slice(top, top + h), slice(left, left + w))
            want = own.copy()
            want[box if last else (slice(None), *box)] = other[box if last else (slice(None), *box)]
            assert np.array_equal(images[i], want) and share == pytest.approx(1 - h * w / 480)
        else:
            want = own * share + other * (1 - share)
            assert np.abs(images[i] - want).max() <= (0.51 if last else 1e-5)
