"""Encoded bytes to RGB pixels, by the fastest route that is right for the file."""

import struct

import cv2
import numpy as np
import simplejpeg

from cellwright.dataloader.decode.header import header_size, is_jpeg_2000

MAX_PIXELS = 100_000_000
"""Pictures of more pixels are refused unread: 100 million are 300 MB of RGB, five times the largest of
ImageNet.
"""
MIN_SIDE = 2


class BadImage(ValueError):
    """A file that holds no picture that can be used; the message says why."""


def picture_size(data):
    """(height, width, kind) from a file's first bytes, nothing decoded; kind is "jpeg", "cmyk" (JPEG),
    "jpeg 2000" or "other".

    Raises BadImage for an empty or foreign file, for more than MAX_PIXELS and for a side under MIN_SIDE.
    """
    if not data:
        raise BadImage("empty file")
    try:
        if data[:2] == b"\xff\xd8":
            height, width, space, _ = simplejpeg.decode_jpeg_header(data, strict=False)
            kind = "cmyk" if space in ("CMYK", "YCCK") else "jpeg"
        else:
            height, width = header_size(data)
            kind = "jpeg 2000" if is_jpeg_2000(data) else "other"
    except (ValueError, KeyError, IndexError, struct.error) as error:  # KeyError: simplejpeg, no frame in the header
        raise BadImage(f"no valid header ({error})") from None
    if height * width > MAX_PIXELS:
        raise BadImage(f"{width} x {height} pixels are over the limit of {MAX_PIXELS}")
    if min(height, width) < MIN_SIDE:
        raise BadImage(f"{width} x {height} pixels")
    return height, width, kind


def decode_jpeg(data, **settings):
    """(H, W, 3) uint8 RGB of a JPEG in gray or colour; `settings` go to simplejpeg. Raises BadImage at the
    decoder's first complaint, but for stray bytes between segments.
    """
    try:
        return simplejpeg.decode_jpeg(data, **settings)
    except MemoryError:
        raise
    except Exception as error:
        if "extraneous bytes" not in str(error):
            raise BadImage(_told(error)) from None
    try:
        return simplejpeg.decode_jpeg(data, strict=False, **settings)
    except MemoryError:
        raise
    except Exception as error:
        raise BadImage(_told(error)) from None


def decode_other(data):
    """(H, W, 3) uint8 RGB of a CMYK JPEG or of a file of another kind. Raises BadImage.

    Gray is spread to three channels, alpha dropped, 16 bits cut to 8; EXIF rotation is ignored, as the
    originals of the four networks do. Of several frames or pages it is the first.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except MemoryError:
        raise
    except Exception as error:
        raise BadImage(_told(error)) from None
    if image is None:
        raise BadImage("damaged or truncated")
    return image


def _told(error):
    """The last line of a decoder's complaint."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
