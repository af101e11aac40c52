"""ImageNet's form on disk: one folder a class, image files within."""

import json
import os
import time
from pathlib import Path

import numpy as np

from cellwright.dataloader.sources.source import PathList, Source

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
INDEX_VERSION = 1


class ImageFolder(Source):
    """The image files below `root`/<class>/, classes and files sorted by name.

    With `index` the listing is kept in that file and used again as long as no class folder has changed since.
    `progress(files)` is called during the listing. ValueError where there is no class folder or no image.
    """

    def __init__(self, root, index=None, progress=None):
        self.root = os.path.abspath(root)
        if not os.path.isdir(self.root):
            raise ValueError(f"{root}: no such folder")
        stamps = _class_stamps(self.root)
        if not stamps:
            raise ValueError(f"{root}: no class folders; images are expected in {root}/<class>/")
        self.classes = list(stamps)
        state = json.dumps({"version": INDEX_VERSION, "root": self.root, "stamps": stamps})
        if not (index and self._load(index, state)):
            self._scan(progress)
            if index and not _racy(stamps):
                self._save(index, state)
        if not len(self.labels):
            raise ValueError(f"{root}: no images ({', '.join(EXTENSIONS)}) in {len(self.classes)} class folders")

    def _scan(self, progress):
        lists, counts, files = [], [], 0
        for name in self.classes:
            with os.scandir(os.path.join(self.root, name)) as entries:
                found = sorted(entry.name for entry in entries if entry.name.lower().endswith(EXTENSIONS))
            lists.append(PathList.pack(found))  # a class at a time: as str, 1.28 million names take 100 MB more
            counts.append(len(found))
            files += len(found)
            if progress:
                progress(files)
        self.names = PathList.join(lists)
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def _load(self, index, state):
        try:
            with open(index, "rb") as file:
                if str(np.load(file)) != state:
                    return False
                self.names = PathList(np.load(file), np.load(file))
                self.labels = np.load(file)
            return True
        except (OSError, ValueError, EOFError):
            return False

    def _save(self, index, state):
        Path(index).parent.mkdir(parents=True, exist_ok=True)
        part = f"{index}.{os.getpid()}.part"
        with open(part, "wb") as file:
            for array in (np.array(state), self.names.blob, self.names.offsets, self.labels):
                np.save(file, array)
        os.replace(part, index)

    def path(self, sample):
        return os.path.join(self.root, self.classes[self.labels[sample]], self.names[sample])

    def read(self, sample):
        return read_file(self.path(sample))


def _class_stamps(root):
    """Class name -> time of its folder's last change in nanoseconds, sorted by name."""
    with os.scandir(root) as entries:
        return dict(
            sorted((e.name, e.stat().st_mtime_ns) for e in entries if e.is_dir() and not e.name.startswith("."))
        )


def _racy(stamps):
    """True where a folder changed so recently that another change within the clock's grain would go unseen."""
    return max(stamps.values()) > time.time_ns() - 2_000_000_000


def read_file(path):
    """The bytes of a file, by three system calls."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        data = os.read(fd, size + 1)
        while len(data) < size:
            more = os.read(fd, size - len(data))
            if not more:
                break
            data += more
        return data
    finally:
        os.close(fd)
