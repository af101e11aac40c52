"""Counter-based random numbers against their published vectors, and what is drawn from them."""

import numpy as np
import pytest

from cellwright.kernels.image.crop import flips, pad_offsets, random_resized_box
from cellwright.kernels.image.philox import below, permutation, philox4, uniform

# Salmon et al., Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds: counter, key, output.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize("counter, key, want", VECTORS)
def test_philox_gives_the_published_numbers(counter, key, want):
    c, k, w = ([int(word, 16) for word in words.split()] for words in (counter, key, want))
    seed, sample = np.uint64(k[0] | k[1] << 32), np.uint64(c[1] | c[2] << 32)
    assert [int(x) for x in philox4(seed, c[3], sample, c[0])] == w


def test_draws_are_uniform_and_independent_of_what_else_is_drawn():
    words = np.array([[int(w) for w in philox4(1, 2, sample, 0)] for sample in range(4000)])
    values = np.array([uniform(np.uint64(w)) for w in words.ravel()])
    assert 0 <= values.min() and values.max() < 1
    assert abs(values.mean() - 0.5) < 0.01 and abs(values.var() - 1 / 12) < 0.003
    assert np.abs(np.corrcoef(words.T) - np.eye(4)).max() < 0.06
    counts = np.bincount([below(np.uint64(w), 7) for w in words.ravel()], minlength=7)
    assert counts.size == 7 and counts.min() > 0.9 * words.size / 7


def test_permutation_is_one_and_depends_on_seed_and_epoch():
    for n in (1, 2, 5, 1000):
        assert np.array_equal(np.sort(permutation(n, 3, 4)), np.arange(n))
    assert not np.array_equal(permutation(1000, 3, 4), permutation(1000, 3, 5))
    assert not np.array_equal(permutation(1000, 3, 4), permutation(1000, 4, 4))


def test_boxes_lie_within_and_have_the_asked_area_and_ratio():
    height, width, scale, ratio = 375, 500, (0.08, 1.0), (3 / 4, 4 / 3)
    boxes = np.array([random_resized_box(height, width, 0, 0, k, *scale, *ratio) for k in range(4000)])
    top, left, h, w = boxes.T
    assert top.min() >= 0 and left.min() >= 0 and (top + h).max() <= height and (left + w).max() <= width
    assert h.min() >= 1 and w.min() >= 1
    area, shape = h * w / (height * width), w / h
    assert area.min() > 0.078 and shape.min() > 0.74 and shape.max() < 1.35
    # Uniform in area as far as every ratio fits: as many boxes in 0.1-0.3 as in 0.3-0.5.
    a, b = ((area > 0.1) & (area < 0.3)).sum(), ((area > 0.3) & (area < 0.5)).sum()
    assert abs(a / b - 1) < 0.15
    assert abs(np.log(shape[area < 0.4]).mean()) < 0.02


def test_a_box_is_the_first_of_ten_tries_that_fits():
    """The same in plain Python, on pictures so long that most tries fail."""
    tries = []
    for sample in range(500):
        height, width = 100, 130 + sample % 7
        want = None
        for attempt in range(10):
            u = [float(uniform(w)) for w in philox4(3, 4, sample, 16 + attempt)]
            area, ratio = height * width * (0.5 + 0.5 * u[0]), (3 / 4) * (16 / 9) ** u[1]
            w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                want = int(u[2] * (height - h + 1)), int(u[3] * (width - w + 1)), h, w
                tries.append(attempt)
                break
        got = random_resized_box(height, width, 3, 4, sample, 0.5, 1.0, 3 / 4, 4 / 3)
        assert want is None or got == want
    assert len(tries) > 400 and max(tries) > 3


@pytest.mark.parametrize("height, width", ((10, 1000), (1000, 10), (1, 1), (3, 2)))
def test_a_picture_that_no_box_fits_is_cropped_at_its_centre(height, width):
    top, left, h, w = random_resized_box(height, width, 0, 0, 5, 0.9, 1.0, 3 / 4, 4 / 3)
    assert 1 <= h <= height and 1 <= w <= width
    assert abs((height - h) / 2 - top) <= 0.5 and abs((width - w) / 2 - left) <= 0.5
    if max(height, width) > 100:
        assert 0.7 < w / h < 1.4


def test_flips_and_offsets_have_their_frequencies():
    assert abs(np.mean([flips(0.3, 1, 1, k) for k in range(3000)]) - 0.3) < 0.03
    assert not any(flips(0.0, 1, 1, k) for k in range(100)) and all(flips(1.0, 1, 1, k) for k in range(100))
    offsets = np.array([pad_offsets(4, 1, 1, k) for k in range(3000)])
    assert offsets.min() == -4 and offsets.max() == 4
    assert np.bincount(offsets[:, 0] + 4).min() > 250
