"""Encoded bytes to RGB pixels, by the fastest route that is right for the file."""

import struct

import cv2
import numpy as np
import simplejpeg

MAX_PIXELS = 100_000_000
"""Pictures of more pixels are refused unread: 100 million are 300 MB of RGB, five times the largest of
ImageNet.
"""
MIN_SIDE = 2


class BadImage(ValueError):
    """A file that holds no picture that can be used; the message says why."""


def picture_size(data):
    """(height, width, kind) from a file's first bytes, nothing decoded; kind is "jpeg", "cmyk" (JPEG), "png",
    "bmp" or "webp".

    Raises BadImage for an empty or foreign file, for more than MAX_PIXELS and for a side under MIN_SIDE.
    """
    if not data:
        raise BadImage("empty file")
    try:
        height, width, kind = _header(data)
    except (ValueError, KeyError, struct.error) as error:  # KeyError: simplejpeg on a header without a frame
        raise BadImage(f"no valid header ({error})") from None
    if height * width > MAX_PIXELS:
        raise BadImage(f"{width} x {height} pixels are over the limit of {MAX_PIXELS}")
    if min(height, width) < MIN_SIDE:
        raise BadImage(f"{width} x {height} pixels")
    return height, width, kind


def _header(data):
    if data[:2] == b"\xff\xd8":
        height, width, space, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        return height, width, "cmyk" if space in ("CMYK", "YCCK") else "jpeg"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        width, height = struct.unpack_from(">II", data, 16)
        return height, width, "png"
    if data[:2] == b"BM":
        width, height = struct.unpack_from("<ii", data, 18)
        return abs(height), abs(width), "bmp"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return *_webp_size(data), "webp"
    raise ValueError("neither JPEG nor PNG, WebP or BMP")


def _webp_size(data):
    form = data[12:16]
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if form == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if form == b"VP8X":
        width, height = int.from_bytes(data[24:27], "little"), int.from_bytes(data[27:30], "little")
        return height + 1, width + 1
    raise ValueError(f"WebP of unknown form {form!r}")


def decode_jpeg(data, **settings):
    """(H, W, 3) uint8 RGB of a JPEG in gray or colour; `settings` go to simplejpeg. Raises BadImage at the
    decoder's first complaint, but for stray bytes between segments.
    """
    try:
        return simplejpeg.decode_jpeg(data, **settings)
    except ValueError as error:
        if "extraneous bytes" not in str(error):
            raise BadImage(str(error)) from None
    return simplejpeg.decode_jpeg(data, strict=False, **settings)


def decode_other(data):
    """(H, W, 3) uint8 RGB of a PNG, WebP, BMP or CMYK JPEG. Raises BadImage.

    Gray is spread to three channels, alpha dropped, 16 bits cut to 8; EXIF rotation is ignored, as the
    originals of the four networks do.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise BadImage(str(error).strip().splitlines()[-1]) from None
    if image is None:
        raise BadImage("damaged or truncated")
    return image
