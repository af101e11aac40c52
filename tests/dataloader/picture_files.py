"""Pictures, and image files of many kinds."""

import io
import struct

import cv2
import numpy as np
from PIL import Image

SAMPLINGS = ("444", "422", "420", "440", "411")


def picture(rng, height, width):
    """A smooth random RGB picture with a few edges, which JPEG keeps at some bytes a pixel."""
    coarse = rng.integers(0, 256, (max(2, height // 16), max(2, width // 16), 3), dtype=np.uint8)
    image = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    image[height // 3 : height // 2, width // 4 : width // 2] = rng.integers(0, 256, 3)
    return image


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
