"""Noise that takes about as long to decode as a photograph."""

import cv2
import numpy as np


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
