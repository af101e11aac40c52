"""The data set that comes with the project: a cut of Fashion-MNIST, as image files and as CIFAR-10 records."""

import lzma
import os
import shutil
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np

CLASSES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot")
TRAIN, HELD_BACK = 14000, 1000
_ARCHIVE = Path(__file__).parents[1] / "fashion_mnist" / "cut.xz"


def records():
    """Returns (labels, pixels), uint8, shapes (15000,) and (15000, 28, 28); the last 1,000 are the held-back images."""
    cut = np.frombuffer(lzma.decompress(_ARCHIVE.read_bytes()), np.uint8).reshape(TRAIN + HELD_BACK, 785)
    return cut[:, 0], cut[:, 1:].reshape(-1, 28, 28)


def embedded_dataset(cache=None):
    """Returns the folder that holds the cut, written there on first use.

    It has train/<class>/*.png and val/<class>/*.png (28×28, gray, class names sort by label), and the same images as
    CIFAR-10 records, a border of 2 black pixels around and three equal planes, in cifar-10-batches-bin/data_batch_1.bin
    and cifar-10-verify-bin/test_batch.bin. cache: where; by default $XDG_CACHE_HOME/cellwright or ~/.cache/cellwright,
    or the folder for temporary files where that cannot be written. Several processes may call it at once.
    """
    name = f"fashion-mnist-{zlib.crc32(_ARCHIVE.read_bytes()):08x}"
    for parent in [Path(cache)] if cache else _cache_folders():
        try:
            parent.mkdir(parents=True, exist_ok=True)
            if not (parent / name).is_dir():
                _write_whole(parent / name)
            return parent / name
        except PermissionError as error:
            refused = error
    raise refused


def _cache_folders():
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return [home / "cellwright", Path(tempfile.gettempdir()) / f"cellwright-{os.getuid()}"]


def _write_whole(folder):
    unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_images(unfinished)
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        if not folder.is_dir():  # else another process was first
            raise


def _write_images(folder):
    labels, pixels = records()
    splits = {
        "train": (slice(None, TRAIN), "cifar-10-batches-bin/data_batch_1.bin"),
        "val": (slice(TRAIN, None), "cifar-10-verify-bin/test_batch.bin"),
    }
    for split, (part, binary) in splits.items():
        for label, name in enumerate(CLASSES):
            (folder / split / f"{label}-{name}").mkdir(parents=True)
        for number, (label, image) in enumerate(zip(labels[part], pixels[part])):
            path = folder / split / f"{label}-{CLASSES[label]}" / f"{number:05d}.png"
            path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
        planes = np.repeat(np.pad(pixels[part], ((0, 0), (2, 2), (2, 2)))[:, None], 3, axis=1)
        (folder / binary).parent.mkdir()
        np.concatenate([labels[part, None], planes.reshape(-1, 3072)], axis=1).tofile(folder / binary)


def ridge_accuracy(penalty=10.0):
    """Returns the share of the held-back images that ridge regression on the pixels gets right: the floor to beat.

    One-hot targets, pixels in [-0.5, 0.5], a constant column, closed-form solution in float64: nothing random in it.
    penalty: the weight of the squared coefficients; 10 is the best of 1, 10, 30, 100, 300, 1000 on the held-back
    images.
    """
    labels, pixels = records()
    design = np.c_[pixels.reshape(len(pixels), -1) / 255.0 - 0.5, np.ones(len(pixels))]
    train, held_back = design[:TRAIN], design[TRAIN:]
    gram = train.T @ train + penalty * np.eye(design.shape[1])
    coefficients = np.linalg.solve(gram, train.T @ np.eye(10)[labels[:TRAIN]])
    return float(np.mean((held_back @ coefficients).argmax(1) == labels[TRAIN:]))
