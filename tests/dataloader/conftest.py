"""Small data sets written for the tests of the loader."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from picture_files import picture


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """37 files in three classes: JPEGs of many sizes, among them gray ones, a PNG in gray, a WebP and a BMP."""
    root = tmp_path_factory.mktemp("folder")
    rng = np.random.default_rng(7)
    for k in range(37):
        image = picture(rng, int(rng.integers(40, 130)), int(rng.integers(40, 130)))
        name = {5: "a.png", 11: "b.webp", 17: "c.bmp"}.get(k, f"{k:03d}.jpg")
        if k in (2, 5):
            image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        path = root / f"class{k % 3}" / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), image)
    return root


@pytest.fixture(scope="session")
def cifar(tmp_path_factory):
    """101 training records in two files, 23 to evaluate, and a test_batch.bin where the official archive has
    it.
    """
    root = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(8)

    def write(path, count):
        path.parent.mkdir(exist_ok=True)
        records = rng.integers(0, 256, (count, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        records.tofile(path)

    write(root / "cifar-10-batches-bin" / "data_batch_1.bin", 60)
    write(root / "cifar-10-batches-bin" / "data_batch_2.bin", 41)
    write(root / "cifar-10-batches-bin" / "test_batch.bin", 9)
    write(root / "cifar-10-verify-bin" / "test_batch.bin", 23)
    return root
