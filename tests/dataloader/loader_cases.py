"""What several tests of the loader use: a picture, and the digest of a batch."""

import hashlib

import cv2
import numpy as np


def picture(rng, height, width):
    """A smooth random RGB picture with a few edges, which JPEG keeps at some bytes a pixel."""
    coarse = rng.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    return image


def digest(batch):
    h = hashlib.sha1()
    for array in (*batch, batch.ids):
        h.update(np.ascontiguousarray(array))
    return h.hexdigest()
