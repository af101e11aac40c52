"""Which files are images: by the ends of their names, and by what this OpenCV can read."""

import os

import cv2
import numpy as np

_ALWAYS = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".jp2")
_SMALLEST_GIF = bytes.fromhex("47494638396101000100800000000000ffffff2c00000000010001000002024401003b")


def _reads_gif():
    """OpenCV reads GIF from 4.12 on, where it was built with it."""
    return cv2.imdecode(np.frombuffer(_SMALLEST_GIF, np.uint8), cv2.IMREAD_COLOR) is not None


EXTENSIONS = (*_ALWAYS, ".gif") if _reads_gif() else _ALWAYS


def is_image(name):
    """True for a file name that the loader reads; hidden files, such as macOS's `._x.jpg`, are none."""
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def kind_of(entry):
    """What an os.DirEntry that is no image counts as among the skipped: "hidden", "folder", or its extension."""
    if entry.name.startswith("."):
        return "hidden"
    if entry.is_dir():
        return "folder"
    return os.path.splitext(entry.name)[1].lower() or "without extension"
