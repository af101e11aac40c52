"""Fashion-MNIST's files as CIFAR-10 records; numpy alone, so that PyTorch's side reads them by it too."""

import gzip
import zlib
from pathlib import Path

import numpy as np

RECORD_BYTES = 3073
HELD_BACK_FOR_TUNING = 5000


def read_records(root, split, tune=False):
    """Returns (N, 3073) uint8: a label, and three equal planes of 32x32 pixels, the outer 2 on each side black.

    root: the folder of the four gzipped IDX files; split: "train" or "test". tune: the last 5,000 training images stand
    in for the test images, and training goes without them. ValueError for files that are not what they should be.
    """
    prefix = Path(root, "t10k" if split == "test" and not tune else "train")
    labels, pixels = _idx(f"{prefix}-labels-idx1-ubyte.gz", 8), _idx(f"{prefix}-images-idx3-ubyte.gz", 16)
    if not labels.size or pixels.size != labels.size * 784 or labels.max() > 9:
        raise ValueError(f"{prefix}-*: not so many labels from 0 to 9 as images of 28x28 pixels")
    if tune and labels.size <= HELD_BACK_FOR_TUNING:
        raise ValueError(f"--tune: {prefix}-* has {labels.size} images, {HELD_BACK_FOR_TUNING} would be held back")
    kept = slice(None)
    if tune:
        kept = slice(-HELD_BACK_FOR_TUNING) if split == "train" else slice(-HELD_BACK_FOR_TUNING, None)
    labels, pixels = labels[kept], pixels.reshape(-1, 1, 28, 28)[kept]
    records = np.zeros((labels.size, RECORD_BYTES), np.uint8)
    records[:, 0] = labels
    records[:, 1:].reshape(-1, 3, 32, 32)[:, :, 2:30, 2:30] = pixels
    return records


def _idx(path, header):
    """The bytes behind the header of a gzipped IDX file."""
    try:
        with gzip.open(path, "rb") as file:
            return np.frombuffer(file.read(), np.uint8)[header:]
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
