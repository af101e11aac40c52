"""ImageNet's form on disk: one folder a class, image files within."""

import json
import os
import re
import time
from collections import Counter
from pathlib import Path

import numpy as np

from cellwright.dataloader.sources.image_suffixes import EXTENSIONS, is_image, kind_of
from cellwright.dataloader.sources.source import PathList, Source

INDEX_VERSION = 2
CLASS_ORDERS = ("name", "number")


class ImageFolder(Source):
    """The image files below `root`/<class>/, files sorted by name.

    sort_classes: "name" numbers the classes in the order of their folders' names as text ("10" before "2"), "number"
    sorts runs of digits by their value. With `index` the listing is kept in that file and used again as long as no
    class folder has changed since. `progress(files)` is called during the listing. ValueError where there is no
    class folder or no image.
    """

    def __init__(self, root, index=None, progress=None, sort_classes="name"):
        if sort_classes not in CLASS_ORDERS:
            raise ValueError(f"sort_classes={sort_classes!r}: allowed are {', '.join(CLASS_ORDERS)}")
        self.root = os.path.abspath(root)
        if not os.path.isdir(self.root):
            raise ValueError(f"{root}: no such folder")
        stamps, self.skipped = _class_stamps(self.root)
        if not stamps:
            raise ValueError(f"{root}: no class folders; images are expected in {root}/<class>/")
        self.classes = sorted(stamps, key=numbers_by_value) if sort_classes == "number" else list(stamps)
        state = json.dumps({"version": INDEX_VERSION, "root": self.root, "classes": self.classes, "stamps": stamps})
        if not (index and self._load(index, state)):
            self._scan(progress)
            if index and not _racy(stamps):
                self._save(index, state)
        if not len(self.labels):
            seen = f"; there are {self.skipped_line()}" if self.skipped else ""
            raise ValueError(f"{root}: no images ({', '.join(EXTENSIONS)}) in {len(self.classes)} class folders{seen}")

    def _scan(self, progress):
        lists, counts, files, skipped = [], [], 0, Counter(self.skipped)
        for name in self.classes:
            with os.scandir(os.path.join(self.root, name)) as entries:
                found = []
                for entry in entries:
                    if is_image(entry.name):
                        found.append(entry.name)
                    else:
                        skipped[kind_of(entry)] += 1
                found.sort()
            lists.append(PathList.pack(found))  # a class at a time: as str, 1.28 million names take 100 MB more
            counts.append(len(found))
            files += len(found)
            if progress:
                progress(files)
        self.names, self.skipped = PathList.join(lists), dict(sorted(skipped.items()))
        self.labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

    def _load(self, index, state):
        try:
            with open(index, "rb") as file:
                if str(np.load(file)) != state:
                    return False
                self.names = PathList(np.load(file), np.load(file))
                self.labels = np.load(file)
                self.skipped = json.loads(str(np.load(file)))
            return True
        except (OSError, ValueError, EOFError):
            return False

    def _save(self, index, state):
        Path(index).parent.mkdir(parents=True, exist_ok=True)
        part = f"{index}.{os.getpid()}.part"
        with open(part, "wb") as file:
            for array in (np.array(state), self.names.blob, self.names.offsets, self.labels,
                          np.array(json.dumps(self.skipped))):  # fmt: skip
                np.save(file, array)
        os.replace(part, index)

    def path(self, sample):
        return os.path.join(self.root, self.classes[self.labels[sample]], self.names[sample])

    def read(self, sample):
        return read_file(self.path(sample))


def _class_stamps(root):
    """(class name -> time of its folder's last change in nanoseconds, sorted by name; kind -> count of the rest)."""
    stamps, skipped = {}, Counter()
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.is_dir() and not entry.name.startswith("."):
                stamps[entry.name] = entry.stat().st_mtime_ns
            else:
                skipped[kind_of(entry)] += 1
    return dict(sorted(stamps.items())), dict(sorted(skipped.items()))


def numbers_by_value(name):
    """A sort key that takes runs of digits as numbers: "class2" before "class10"."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if k % 2 else (0, part) for k, part in enumerate(parts)]


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
