"""A picture before it is decoded: its size is known, and any part of it can be asked for."""

import numpy as np

from cellwright.dataloader.decode.decoders import BadImage, decode_jpeg, decode_other, picture_size
from cellwright.dataloader.decode.jpeg import read_frame
from cellwright.dataloader.decode.jpeg_cut import Cutter, units_of_box, unpack_notes
from cellwright.dataloader.decode.jpeg_region import RegionDecoder, can_decode
from cellwright.dataloader.decode.own_process import decode_guarded

_cutter, _decoder = Cutter(), RegionDecoder()

# Bytes: a part takes some 50 microseconds to find, a byte of a whole picture 6 to 10 nanoseconds to decode. It only
# chooses the faster way, which gives the same pixels.
_LEAST_SAVED = 8000


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
        width), valid until the next call.

        Pixel (0, 0) of the result begins at (top, left) of the picture, and each stands for `shrink` x
        `shrink` of it. With `box` None it is the whole picture. least: (height, width) that the box must
        still have after shrinking; (0, 0) for no shrinking.
        """
        if self.kind != "jpeg":
            decode = decode_guarded if self.kind == "jpeg 2000" else decode_other
            return self._checked(decode(self.data)), 0, 0, 1
        shrink = _shrink(box, least)
        return self._part(box, shrink) or self._whole(shrink)

    def _whole(self, shrink):
        if shrink > 1:
            return _decode_shrunk(self.data, self.height, self.width, shrink), 0, 0, shrink
        return self._checked(decode_jpeg(self.data)), 0, 0, 1

    def _checked(self, image):
        """The decoded `image`, which must be of the size that the header told."""
        if image.shape != (self.height, self.width, 3):
            held = f"{image.shape[1]} x {image.shape[0]}"
            raise BadImage(f"its header tells {self.width} x {self.height}, it holds {held}")
        return image

    def _part(self, box, shrink):
        """What `pixels` gives, of no more than the box; None where that cannot be had, or does not pay."""
        if box is None or not self._pays(1 - box[2] * box[3] / (self.height * self.width)):
            return None
        frame = read_frame(self.data)
        if frame is None:
            return None
        first, end, left, right = units_of_box(frame, box, shrink)
        if not self._pays(1 - (end - first) * (right - left) / (frame.units[0] * frame.units[1])):
            return None
        notes = None if self.kept is None else unpack_notes(self.kept, frame)
        if shrink == 1 and can_decode(frame):
            image = _decoder.decode(self.data, frame, box, notes)
            return None if image is None else (image, box[0], box[1], 1)
        found = _cutter.cut_box(self.data, frame, box, notes, shrink)
        if found is None:
            return None
        data, top, left = found
        if shrink == 1:
            return decode_jpeg(data), top, left, 1
        height, width, _ = picture_size(data)
        return _decode_shrunk(data, height, width, shrink), top, left, shrink

    def _pays(self, share):
        """True where it wins something to leave out `share` of the picture."""
        return share * len(self.data) > _LEAST_SAVED


def _decode_shrunk(data, height, width, shrink):
    return decode_jpeg(data, min_factor=shrink, min_height=-(-height // shrink), min_width=-(-width // shrink))


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
