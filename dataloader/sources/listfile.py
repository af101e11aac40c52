"""Samples named by a text file: one `relative/path label` a line."""

import os

import numpy as np

from cellwright.dataloader.sources.folder import read_file
from cellwright.dataloader.sources.source import PathList, Source


class ListFile(Source):
    """The files that `list_path` names below `root`, each with its integer label behind the last blank.

    ValueError with the line number where a line has no label, or a path leaves the root.
    """

    def __init__(self, list_path, root=None):
        self.root = os.path.abspath(root if root is not None else os.path.dirname(list_path))
        paths, labels = [], []
        with open(list_path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                line = line.strip()
                if not line:
                    continue
                path, _, label = line.rpartition(" ")
                if not path or not label.isdigit():
                    raise ValueError(f"{list_path}:{number}: {line!r}: expected 'relative/path label'")
                path = os.path.normpath(path.strip())
                if os.path.isabs(path) or path.split(os.sep, 1)[0] == "..":
                    raise ValueError(f"{list_path}:{number}: {path!r} leaves the root {self.root}")
                paths.append(path)
                labels.append(int(label))
        if not paths:
            raise ValueError(f"{list_path}: no samples")
        self.names = PathList.pack(paths)
        self.labels = np.array(labels, np.int32)
        self.classes = [str(k) for k in range(int(self.labels.max()) + 1)]

    def path(self, sample):
        return os.path.join(self.root, self.names[sample])

    def read(self, sample):
        return read_file(self.path(sample))
