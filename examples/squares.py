"""A source of the loader by three methods, which workers import: bright squares in noise, each with its mask."""

import numpy as np


class Squares:
    def __len__(self):
        return 240

    def label(self, k):
        return 0

    def read(self, k):
        """Returns the picture (H, W, 3) uint8 and what belongs to it; 255 in the mask counts for nothing."""
        random = np.random.default_rng(k)
        mask = np.zeros((40, 48), np.uint8)
        top, left = random.integers(0, 20, 2)
        mask[top : top + 20, left : left + 20] = 1
        image = (80 * mask[:, :, None] + random.integers(40, 140, (*mask.shape, 3))).astype(np.uint8)
        mask[random.random(mask.shape) < 0.05] = 255
        return {"image": image, "mask": mask}
