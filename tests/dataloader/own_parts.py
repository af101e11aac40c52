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


def add_noise(image, random):
    image += random.integers(0, 40, image.shape, dtype=np.uint8)


@numba.njit
def invert_some(image, random):
    if random.random() < 0.5:
        image[:] = 255 - image
