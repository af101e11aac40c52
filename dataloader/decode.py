"""Encoded bytes to RGB pixels, by the fastest route that is right for the file."""

import cv2
import numpy as np
import simplejpeg

MAX_PIXELS = 1 << 28


class BadImage(ValueError):
    """A file that holds no picture that can be used; the message says why."""


def decode(data):
    """(H, W, 3) uint8 RGB, contiguous, from the bytes of a JPEG, PNG, WebP or BMP file; gray is spread to three channels, alpha
    dropped, 16 bits cut to 8, EXIF rotation ignored. Raises BadImage.
    """
    if data[:2] == b"\xff\xd8":
        try:
            return simplejpeg.decode_jpeg(data)
        except ValueError:
            pass  # CMYK and what else the strict decoder refuses: OpenCV says whether it can be read
    if not len(data):
        raise BadImage("empty file")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadImage(str(error).strip().splitlines()[-1]) from None
    if image is None:
        raise BadImage("no decoder knows this file")
    return image
