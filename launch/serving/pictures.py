"""Pictures from files, one by one, in this process: as a person names them, decoded and cut as evaluation does."""

import os
from pathlib import Path

import numpy as np

from cellwright.dataloader import BadImage
from cellwright.dataloader.apply_transform import ApplyTransform
from cellwright.dataloader.decode.picture import open_picture
from cellwright.dataloader.sources.folder import read_file
from cellwright.dataloader.sources.image_suffixes import EXTENSIONS, is_image


def named_files(names):
    """Returns the paths that these names stand for: a file itself, the pictures below a folder in the order of their
    names, the lines of a .txt file. ValueError for a name that is nothing of these.
    """
    found = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            found += sorted(str(file) for file in path.rglob("*") if is_image(file.name))
        elif path.suffix == ".txt" and path.is_file():
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except UnicodeDecodeError:
                raise ValueError(f"{name}: no text, and a .txt file must hold a name a line") from None
            found += [os.path.join(path.parent, line.strip()) for line in lines if line.strip()]
        elif path.is_file():
            found.append(str(path))
        else:
            raise ValueError(f"{name}: no such file or folder")
    if not found:
        raise ValueError(f"{', '.join(map(str, names))}: no pictures there ({', '.join(EXTENSIONS)})")
    return found


def read_pixels(path):
    """Returns the picture of a file as RGB (H, W, 3) uint8; BadImage or OSError where it holds none."""
    return np.array(open_picture(read_file(path)).pixels()[0])


class Cut:
    """The preprocessing of evaluation: `Cut(transform)(pixels)` returns (S, S, 3) uint8 of an (H, W, 3) picture."""

    def __init__(self, transform):
        self._apply, self._side = ApplyTransform(transform, 0), transform.image_size

    def __call__(self, pixels):
        out = np.empty((self._side, self._side, 3), np.uint8)
        self._apply(open_picture(np.ascontiguousarray(pixels)), 0, 0, out)
        return out


def batches(files, size, make, refuse):
    """Iterates over (paths, array of make(pixels)) of up to `size` files; refuse(path, reason) hears of the others."""
    paths, made = [], []
    for path in files:
        try:
            made.append(make(read_pixels(path)))
            paths.append(path)
        except (BadImage, OSError) as error:
            refuse(path, error.strerror if isinstance(error, OSError) and error.strerror else str(error))
        if len(paths) == size:
            yield paths, np.stack(made)
            paths, made = [], []
    if paths:
        yield paths, np.stack(made)
