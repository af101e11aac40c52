"""A source and transforms as somebody else would write them: workers import this module by its name."""

import numba
import numpy as np


class Stripes:
    """Pictures and files of stripes, by the three methods that a source needs."""

    def __len__(self):
        return 20

    def label(self, k):
        return k % 4

    def read(self, k):
        image = np.zeros((40 + k, 50, 3), np.uint8)
        image[:, ::2] = 10 * k
        return image


class Marked:
    """Noise in which each thing of a sample can be found again: a mask that is the red channel, the box of a square
    that is white, a pair that is the inverse, numbers.
    """

    def __len__(self):
        return 12

    def label(self, k):
        return k % 3

    def read(self, k):
        random = np.random.default_rng(k)
        height, width = (48, 48) if k % 2 else (40, 60)
        image = random.integers(0, 200, (height, width, 3), np.uint8)
        top, left = random.integers(0, 28, 2)
        image[top : top + 12, left : left + 12] = 255
        box = [left, top, left + 12, top + 12, k]
        return {"image": image, "mask": image[:, :, 0], "boxes": [box], "pair": 255 - image, "target": [k, k / 2]}


class Unmarked(Marked):
    """One sample has a mask of another size."""

    def read(self, k):
        values = super().read(k)
        return values | {"mask": values["mask"][:-1]} if k == 5 else values


def add_noise(image, random):
    image += random.integers(0, 40, image.shape, dtype=np.uint8)


@numba.njit
def invert_some(image, random):
    if random.random() < 0.5:
        image[:] = 255 - image
