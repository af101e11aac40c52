"""The size of a picture as its file's first bytes tell it, for every kind but JPEG."""

import struct

_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_JPEG_2000_STREAM = b"\xff\x4f\xff\x51"
_TIFF = (b"II*\0", b"MM\0*")
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3


def is_jpeg_2000(data):
    """True for a JPEG 2000 file or code stream."""
    return data[:12] == _JP2 or data[:4] == _JPEG_2000_STREAM


def header_size(data):
    """(height, width) of a PNG, WebP, BMP, GIF, TIFF or JPEG 2000. Raises ValueError, IndexError or struct.error."""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        height, width = _png_size(data)
    elif data[:2] == b"BM":
        width, height = map(abs, struct.unpack_from("<ii", data, 18))
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        height, width = _webp_size(data)
    elif data[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", data, 6)
    elif data[:4] in _TIFF:
        height, width = _tiff_size(data)
    elif is_jpeg_2000(data):
        height, width = _jpeg_2000_size(data)
    else:
        raise ValueError("neither JPEG nor PNG, WebP, BMP, GIF, TIFF or JPEG 2000")
    return height, width


def _png_size(data):
    """The header's size, where all chunks lie within the file: OpenCV 4.11 takes the gigabytes that a damaged length
    asks for before it looks.
    """
    at, kind, headers = 8, b"", 0
    while kind != b"IEND":
        length, kind = struct.unpack_from(">I4s", data, at)
        headers += kind == b"IHDR"
        at += 12 + length
        if at > len(data):
            raise ValueError("a PNG chunk that ends beyond the file")
    if data[8:16] != b"\0\0\0\rIHDR" or headers != 1:
        raise ValueError("a PNG that does not begin with its one header")
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


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
    raise ValueError(f"WebP of unknown form {bytes(form)!r}")


def _tiff_size(data):
    """From the first directory of tags."""
    order = "<" if data[:1] == b"I" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    found = {}
    for k in range(count):
        tag, kind = struct.unpack_from(order + "HH", data, at + 2 + 12 * k)
        (found[tag],) = struct.unpack_from(order + ("H" if kind == _TIFF_SHORT else "I"), data, at + 10 + 12 * k)
    if _TIFF_WIDTH not in found or _TIFF_HEIGHT not in found:
        raise ValueError("TIFF without a size")
    return found[_TIFF_HEIGHT], found[_TIFF_WIDTH]


def _jpeg_2000_size(data):
    """From the header of the code stream, which must agree with the file's and give every component a sample a
    pixel: OpenCV 4.11 dies of files where it does not.
    """
    at = bytes(data[:4096]).find(_JPEG_2000_STREAM)
    if at < 0:
        raise ValueError("JPEG 2000 without a code stream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, at + 8)
    height, width = bottom - top, right - left
    (components,) = struct.unpack_from(">H", data, at + 40)
    samples = bytes(data[at + 42 : at + 42 + 3 * components])
    if components not in (1, 3, 4) or samples[1::3] + samples[2::3] != b"\1" * (2 * components):
        raise ValueError(f"JPEG 2000 of {components} components that are not of one size")
    if at:
        box = bytes(data[:at]).find(b"ihdr")
        if box < 0 or struct.unpack_from(">IIH", data, box + 4) != (height, width, components):
            raise ValueError("JPEG 2000 whose two headers do not agree")
    return height, width
