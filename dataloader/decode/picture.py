"""A picture before it is decoded: its size is known, and any part of it can be asked for."""

import numpy as np

from cellwright.dataloader.decode.guarded import decode_guarded
from cellwright.dataloader.decode.image import BadImage, decode_jpeg, decode_other, picture_size
from cellwright.dataloader.decode.jpeg import read_frame
from cellwright.dataloader.decode.jpeg_cut import Cutter, units_of_box, unpack_notes

_cutter = Cutter()

# Nanoseconds a byte and a pixel of decoding whole, a byte of scanning, and a cut at all: read off one core of
# a 3 GHz Zen 3. They only choose the faster way, which gives the same pixels.
_DECODE_BYTE, _DECODE_PIXEL, _SCAN_BYTE, _CUT, _CUT_KEPT = 6.2, 1.3, 2.4, 60_000, 120_000


def open_picture(data, notes=b""):
    """Returns the picture that a source's `read` and `notes` give. Raises BadImage where it is none."""
    return Pixels(data) if isinstance(data, np.ndarray) else Encoded(data, notes)


class Encoded:
    """An image file in memory; kept: its notes as `pack_notes` wrote them, where there are some. Raises
    BadImage where it is no picture.
    """

    def __init__(self, data, kept=b""):
        self.data, self.kept = data, kept or None
        self.height, self.width, self.kind = picture_size(data)

    def pixels(self, box=None, least=(0, 0)):
        """(pixels, top, left, shrink): RGB pixels (h, w, 3) that hold at least the `box` (top, left, height,
        width).

        Pixel (0, 0) of the result begins at (top, left) of the picture, and each stands for `shrink` x
        `shrink` of it. With `box` None it is the whole picture. least: (height, width) that the box must
        still have after shrinking; (0, 0) for no shrinking.
        """
        if self.kind != "jpeg":
            decode = decode_guarded if self.kind == "jpeg 2000" else decode_other
            return self._checked(decode(self.data)), 0, 0, 1
        data, top, left = self.data, 0, 0
        shrink = _shrink(box, least)
        if box is not None:
            data, top, left = self._part(box, shrink)
        if shrink == 1:
            image = decode_jpeg(data)
            return self._checked(image) if data is self.data else image, top, left, 1
        height, width, _ = picture_size(data)
        image = decode_jpeg(data, min_factor=shrink, min_height=-(-height // shrink), min_width=-(-width // shrink))
        return image, top, left, shrink

    def _checked(self, image):
        """The decoded `image`, which must be of the size that the header told."""
        if image.shape != (self.height, self.width, 3):
            raise BadImage(
                f"its header tells {self.width} x {self.height}, it holds {image.shape[1]} x {image.shape[0]}"
            )
        return image

    def _part(self, box, shrink):
        frame = read_frame(self.data) if self._pays(box, box[2] * box[3] / (self.height * self.width)) else None
        if frame is None:
            return self.data, 0, 0
        first, end, left, right = units_of_box(frame, box, shrink)
        if not self._pays(box, (end - first) * (right - left) / (frame.units[0] * frame.units[1])):
            return self.data, 0, 0
        kept = None if self.kept is None else unpack_notes(self.kept, frame)
        return _cutter.cut_box(self.data, frame, box, kept, shrink) or (self.data, 0, 0)

    def _pays(self, box, share):
        """True where cutting out `share` of the picture costs less than decoding what it leaves out."""
        size = len(self.data)
        cost = _CUT + _SCAN_BYTE * size if self.kept is None else _CUT_KEPT
        return (1 - share) * (_DECODE_BYTE * size + _DECODE_PIXEL * self.height * self.width) > cost


def _shrink(box, least):
    """The largest of 1, 2, 4 and 8 by which the decoder may shrink the box."""
    if box is None or not all(least):
        return 1
    room = min(box[2] // least[0], box[3] // least[1])
    return next((factor for factor in (8, 4, 2) if factor <= room), 1)


class Pixels:
    """Pixels that are stored as they are. Raises BadImage where they are not (H, W, 3) uint8."""

    def __init__(self, image):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise BadImage(f"pixels of shape {image.shape} and type {image.dtype}: allowed are (H, W, 3) uint8")
        self.image = image
        self.height, self.width = image.shape[:2]

    def pixels(self, box=None, least=(0, 0)):
        """As `Encoded.pixels`; always the whole picture, not copied."""
        return self.image, 0, 0, 1
