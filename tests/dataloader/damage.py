"""Image files of many kinds, and ways to damage them: what the tests of damaged files draw from."""

import io
import struct

import cv2
import numpy as np
from loader_cases import picture
from PIL import Image

SAMPLINGS = ("444", "422", "420", "440", "411")


def jpeg(image, sampling="420", quality=90, **flags):
    """A JPEG of an RGB picture; sampling "gray" for one component."""
    settings = [cv2.IMWRITE_JPEG_QUALITY, quality]
    for name, value in flags.items():
        settings += [getattr(cv2, f"IMWRITE_JPEG_{name.upper()}"), int(value)]
    if sampling == "gray":
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    else:
        settings += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{sampling}")]
        image = image[..., ::-1]
    return cv2.imencode(".jpg", image, settings)[1].tobytes()


def cmyk(image):
    """A JPEG of four components."""
    out = io.BytesIO()
    Image.fromarray(image).convert("CMYK").save(out, "JPEG", quality=90)
    return out.getvalue()


def with_orientation(data):
    """A JPEG with an EXIF segment that asks for a quarter turn."""
    tag = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    return data[:2] + struct.pack(">BBH", 0xFF, 0xE1, 2 + len(tag)) + tag + data[2:]


def with_precision(data, bits):
    """A JPEG whose header claims `bits` bits a sample."""
    at = data.index(b"\xff\xc0") + 4
    return data[:at] + bytes([bits]) + data[at + 1 :]


def noisy(rng, height, width):
    """A picture with noise, which needs many Huffman codes."""
    image = picture(rng, height, width).astype(int) + rng.integers(-25, 26, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


def kinds_of_jpeg(rng):
    """Yields (kind, JPEG) of every kind that the loader tells apart."""
    for sampling in (*SAMPLINGS, "gray"):
        height, width = (int(n) for n in rng.integers(17, 120, 2))
        image = noisy(rng, height, width)
        yield sampling, jpeg(image, sampling, int(rng.integers(40, 100)))
        yield f"{sampling}, optimised tables", jpeg(image, sampling, 90, optimize=1)
        yield f"{sampling}, progressive", jpeg(image, sampling, 80, progressive=1)
        yield f"{sampling}, restart markers", jpeg(image, sampling, 80, rst_interval=int(rng.integers(1, 9)))
    yield "EXIF", with_orientation(jpeg(noisy(rng, 61, 47)))
    yield "12 bits", with_precision(jpeg(noisy(rng, 40, 40)), 12)
    yield "CMYK", cmyk(noisy(rng, 51, 38))
    one = jpeg(noisy(rng, 33, 90))
    yield "two in one, and a comment ahead of the tables", one[:2] + b"\xff\xfe\0\x06text" + one[2:] + one


def jpegs(rng):
    """Yields the same without their kinds."""
    return (data for _, data in kinds_of_jpeg(rng))


def others(rng):
    """Yields PNG, WebP, BMP, TIFF and JPEG 2000 files."""
    image = noisy(rng, int(rng.integers(40, 90)), int(rng.integers(40, 90)))[..., ::-1]
    alpha = np.dstack([image, image[..., :1]])
    for suffix in (".png", ".webp", ".bmp", ".tiff", ".jp2"):
        yield cv2.imencode(suffix, image)[1].tobytes()
    for form in (alpha, image[..., 0], image.astype(np.uint16) * 257):
        yield cv2.imencode(".png", form)[1].tobytes()
    yield cv2.imencode(".webp", alpha, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    yield cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 50])[1].tobytes()
    yield cv2.imencode(".bmp", image[..., 0])[1].tobytes()


def segments(data):
    """Where each segment of a JPEG begins, up to the scan; for other files places of four-byte words."""
    if data[:2] != b"\xff\xd8":
        return list(range(0, min(len(data), 120), 4))
    at, found = 2, []
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        found.append(at)
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return [*found, at]


def _bits(rng, data):
    for at in rng.integers(2, len(data), int(rng.integers(1, 4))):
        data[at] ^= 1 << int(rng.integers(8))


def _header_bytes(rng, data):
    for at in rng.integers(2, min(len(data), 700), int(rng.integers(1, 4))):
        data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.integers(256)]))


def _segment_word(rng, data):
    """A marker, a length, or what follows: dimensions, components, tables."""
    at = int(rng.choice(segments(bytes(data)))) + int(rng.integers(0, 12))
    if at < len(data):
        data[at] = int(rng.integers(256))


def _truncated(rng, data):
    cut = int(rng.choice([*segments(bytes(data)), *rng.integers(1, len(data), 3)])) + int(rng.integers(0, 5))
    del data[cut:]


def _filled(rng, data):
    begin, value = int(rng.integers(2, len(data))), int(rng.choice([0, 0xFF, 0x55]))
    end = min(len(data), begin + int(rng.integers(1, 400)))
    data[begin:end] = bytes([value]) * (end - begin)


def _marker_in_scan(rng, data):
    at = int(rng.integers(len(data) // 2, len(data)))
    data[at : at + 2] = bytes([0xFF, int(rng.choice([0xD9, 0xD0, 0xD3, 0xDA, 0xC4, 0xFF, 0x01]))])


def _inserted(rng, data):
    at = int(rng.integers(2, len(data)))
    data[at:at] = rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8).tobytes()


def _removed(rng, data):
    at = int(rng.integers(2, len(data)))
    del data[at : at + int(rng.integers(1, 40))]


def _segment_moved(rng, data):
    places = segments(bytes(data))
    if len(places) > 2:
        k = int(rng.integers(len(places) - 1))
        part = data[places[k] : places[k + 1]]
        if rng.integers(2):
            del data[places[k] : places[k + 1]]
        at = places[0] if rng.integers(2) else len(data) - 2
        data[at:at] = part


DAMAGES = (
    _bits,
    _header_bytes,
    _segment_word,
    _truncated,
    _filled,
    _marker_in_scan,
    _inserted,
    _removed,
    _segment_moved,
)


def damaged(rng, data):
    """`data` with one or two damages."""
    data = bytearray(data)
    for _ in range(int(rng.integers(1, 3))):
        if len(data) > 8:
            DAMAGES[int(rng.integers(len(DAMAGES)))](rng, data)
    return bytes(data)


def cut_everywhere(data):
    """Yields a file cut at, just behind and just ahead of the begin of each of its segments."""
    for at in segments(data):
        for off in (-1, 0, 1, 2, 3, 4, 7):
            if 0 < at + off < len(data):
                yield data[: at + off]
