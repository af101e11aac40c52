"""A folder of JPEGs with a given mean size, cut from a few larger pictures."""

import cv2
import numpy as np

from cellwright.launch.bench.pictures.texture import texture

SHAPES = ((375, 500), (333, 500), (500, 375), (400, 500))


def cut(rng, image, height, width):
    """A part of `image`, of (height, width), from it as it is or shrunk by up to what still holds the part."""
    least = max(height / image.shape[0], width / image.shape[1])
    if least > 1:  # its orientation does not fit
        image = np.ascontiguousarray(image.transpose(1, 0, 2))
        least = max(height / image.shape[0], width / image.shape[1])
    scale = least + (1 - least) * rng.random() if least < 1 else least
    if scale != 1:
        size = [max(n, round(m * scale)) for n, m in zip((width, height), image.shape[1::-1])]
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    y, x = rng.integers(0, image.shape[0] - height + 1), rng.integers(0, image.shape[1] - width + 1)
    part = image[y : y + height, x : x + width]
    return part[:, ::-1] if rng.integers(2) else part


def write_pictures(folder, count, kilobytes, bases=None):
    """Writes `count` JPEGs of about `kilobytes` on average in 10 classes, cut from `bases` or else of noise; returns
    (mean bytes, mean bytes per pixel, quality).
    """
    rng = np.random.default_rng(5)
    bases = bases or [texture(rng, 640, 800) for _ in range(min(24, 1 + count // 16))]
    parts = [cut(rng, bases[k % len(bases)], *SHAPES[k // len(bases) % 4]) for k in range(count)]

    def encode(image, quality):
        return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]

    low, high = 20, 100
    while high - low > 1:
        quality = (low + high) // 2
        size = np.mean([encode(image, quality).size for image in parts[:36]])
        low, high = (quality, high) if size < 1024 * kilobytes else (low, quality)
    sizes = []
    for k, image in enumerate(parts):
        path = folder / f"class{k % 10}" / f"{k:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = encode(image, high)
        path.write_bytes(data.tobytes())
        sizes.append(data.size)
    pixels = [image.shape[0] * image.shape[1] for image in parts]
    return float(np.mean(sizes)), float(np.mean(np.divide(sizes, pixels))), high
