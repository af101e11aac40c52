"""A picture before it is decoded: its size is known, and any part of it can be asked for."""

import numpy as np

from dataloader.decode import decode_jpeg, decode_other, picture_size
from kernels.records import SIDE, record_to_image


class Encoded:
    """An image file in memory. Raises BadImage where that is no picture."""

    def __init__(self, data):
        self.data = data
        self.height, self.width, self.kind = picture_size(data)

    def pixels(self, box=None, least=(0, 0)):
        """(pixels, top, left, shrink): RGB pixels (h, w, 3) that hold at least the `box` (top, left, height, width).

        Pixel (0, 0) of the result begins at (top, left) of the picture, and each stands for `shrink` x `shrink` of it. With `box` None it
        is the whole picture. least: (height, width) that the box must still have after shrinking; (0, 0) for no shrinking.
        """
        if self.kind != "jpeg":
            return decode_other(self.data), 0, 0, 1
        return decode_jpeg(self.data), 0, 0, 1


class Record:
    """A CIFAR-10 record."""

    height = width = SIDE

    def __init__(self, record):
        self.record = record

    def pixels(self, box=None, least=(0, 0)):
        """As `Encoded.pixels`; always the whole picture."""
        image = np.empty((SIDE, SIDE, 3), np.uint8)
        record_to_image(self.record, image)
        return image, 0, 0, 1
