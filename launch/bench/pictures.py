"""The pictures of the loader's benchmark: JPEGs of some 500 x 375 pixels, of noise or cut from photographs."""

import importlib.util
from pathlib import Path

import cv2
import numpy as np

SHAPES = ((375, 500), (333, 500), (500, 375), (400, 500))
PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png",
        "data/coffee.png",
        "data/motorcycle_left.png",
        "data/motorcycle_right.png",
        "data/rocket.jpg",
        "data/retina.jpg",
        "data/hubble_deep_field.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}


def photographs():
    """Returns the colour photographs of 500 x 375 and more that scikit-image and scikit-learn carry, RGB uint8.

    ValueError where one of the two is not installed.
    """
    found = []
    for package, files in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ValueError("--photographs needs the extra of that name: pip install 'cellwright[photographs]'")
        folder = Path(spec.submodule_search_locations[0])
        found += [cv2.imread(str(folder / file), cv2.IMREAD_COLOR_RGB) for file in files]
    return found


def texture(rng, height, width):
    """(height, width, 3) uint8: noise whose power falls with frequency as in photographs, over a few flat
    shapes with sharp borders.
    """
    noise = np.fft.rfft2(rng.standard_normal((3, height, width), dtype=np.float32), axes=(1, 2))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    image = np.fft.irfft2(noise / np.maximum(frequency, 1 / width) ** 1.1, (height, width), axes=(1, 2))
    image = image.mean(0) * 1.4 + image * 0.4  # channels go together, as in photographs
    image = (image / image.std() * 42 + 120).transpose(1, 2, 0)
    for _ in range(6):
        corners = rng.integers(0, (width, height), (4, 2)).astype(np.int32)
        mask = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), corners, 1).astype(bool)
        image[mask] = image[mask] * 0.6 + rng.integers(0, 120, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


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
