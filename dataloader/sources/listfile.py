"""Samples named by a text file: one `relative/path label` a line."""

import os

import numpy as np

from cellwright.dataloader.sources.folder import read_file
from cellwright.dataloader.sources.source import PathList, Source

_MOST_CLASSES = 1_000_000  # a label beyond is no class number, and a head of as many would fill the memory


class ListFile(Source):
    """The files that `list_path` names below `root`, each with its integer label behind the last blank.

    classes: names by label; by default as many as the highest label wants, by their numbers. ValueError with the line
    number where a line has no label, a label is none of the classes, or a path leaves the root.
    """

    def __init__(self, list_path, root=None, classes=None):
        self.root = os.path.abspath(root if root is not None else os.path.dirname(list_path))
        paths, labels, most = [], [], len(classes) if classes else _MOST_CLASSES
        with open(list_path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                line = line.strip()
                if not line:
                    continue
                path, _, label = line.rpartition(" ")
                if not path or not label.lstrip("-").isdigit():
                    raise ValueError(f"{list_path}:{number}: {line!r}: expected 'relative/path label'")
                if not 0 <= int(label) < most:
                    raise ValueError(f"{list_path}:{number}: label {label}: must be from 0 to {most - 1}")
                path = os.path.normpath(path.strip())
                if os.path.isabs(path) or path.split(os.sep, 1)[0] == "..":
                    raise ValueError(f"{list_path}:{number}: {path!r} leaves the root {self.root}")
                paths.append(path)
                labels.append(int(label))
        if not paths:
            raise ValueError(f"{list_path}: no samples")
        self.names = PathList.pack(paths)
        self.labels = np.array(labels, np.int32)
        self.classes = list(classes or map(str, range(int(self.labels.max()) + 1)))

    def path(self, sample):
        return os.path.join(self.root, self.names[sample])

    def read(self, sample):
        return read_file(self.path(sample))
