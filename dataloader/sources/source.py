"""What a source of samples offers, and the form in which paths are kept."""

import os
from types import MappingProxyType

import numpy as np


class PathList:
    """N relative paths as one run of bytes and N + 1 offsets: 1.28 million take some 50 MB, a list of str
    takes 150 MB.
    """

    def __init__(self, blob, offsets):
        self.blob, self.offsets = blob, offsets

    @classmethod
    def pack(cls, paths):
        """From an iterable of str."""
        encoded = [os.fsencode(path) for path in paths]
        lengths = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return cls(np.frombuffer(b"".join(encoded), np.uint8), np.concatenate([[0], np.cumsum(lengths)]))

    @classmethod
    def join(cls, lists):
        """One list of many."""
        sizes = np.cumsum([0] + [int(part.offsets[-1]) for part in lists])
        offsets = [part.offsets[:-1] + start for part, start in zip(lists, sizes)]
        return cls(np.concatenate([part.blob for part in lists]), np.concatenate([*offsets, sizes[-1:]]))

    def __len__(self):
        return len(self.offsets) - 1

    def __getitem__(self, index):
        return os.fsdecode(self.blob[self.offsets[index] : self.offsets[index + 1]].tobytes())


class Source:
    """N samples with a label each. Subclasses set `labels` (N,) int32 and `classes` (a list of names), and `read`
    gives sample k as the bytes of an image file or as pixels.

    encoded: False where a sample costs next to nothing to decode. records: (N, 3073) uint8, CIFAR-10 records in
    memory after `prepare`, which the workers read in one go. skipped: kind -> count of what was found beside the
    samples and left out: "hidden", "folder", or a file name's extension.
    """

    labels = None
    classes = ()
    skipped = MappingProxyType({})
    records = None
    encoded = True

    def __len__(self):
        return len(self.labels)

    def label(self, sample):
        """The class number of a sample."""
        return int(self.labels[sample])

    def path(self, sample):
        """Where a sample lies, for a person to read."""
        raise NotImplementedError

    def read(self, sample):
        """The bytes of a sample's image file, or its pixels (H, W, 3) uint8 RGB; or a dict of these as "image" and a
        value for each of the transform's fields. Raises OSError.
        """
        raise NotImplementedError

    def notes(self, sample):
        """Where the parts of a sample's JPEG lie, as `decode.jpeg_cut.pack_notes` wrote it; empty where unknown."""
        return b""

    def skipped_line(self):
        """Returns what was left out as words, such as "3 .heic, 1 folder, 2 hidden"; empty for nothing."""
        many = {kind: "s" if kind == "folder" and count > 1 else "" for kind, count in self.skipped.items()}
        return ", ".join(f"{count} {kind}{many[kind]}" for kind, count in self.skipped.items())

    def prepare(self):
        """Called once where the workers are forked from, before they are: what is loaded here is shared by
        all of them.
        """


def check_labels(labels, classes, where):
    """Raises ValueError where there is no sample, or where a label is not one of so many classes."""
    if not len(labels):
        raise ValueError(f"{where}: no samples")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if wrong.size:
        raise ValueError(f"{where}: label {wrong[0]}: must be from 0 to {classes - 1} ({classes} classes)")


class _OwnSource(Source):
    """Somebody's own object as a Source."""

    def __init__(self, inner):
        self.inner = inner
        self.classes = getattr(inner, "classes", ())

    def __len__(self):
        return len(self.inner)

    def label(self, sample):
        return int(self.inner.label(sample))

    def read(self, sample):
        return self.inner.read(sample)

    def path(self, sample):
        return self.inner.path(sample) if hasattr(self.inner, "path") else f"sample {sample}"

    def prepare(self):
        if hasattr(self.inner, "prepare"):
            self.inner.prepare()


def as_source(thing):
    """Returns `thing` as a Source: one already, or any object with three methods, `len(thing)`, `thing.read(k)` (the
    bytes of an image file, or (H, W, 3) uint8 pixels) and `thing.label(k)`; `path`, `prepare` and `classes` are used
    where it has them. TypeError where it lacks one, or where workers could not import its class.
    """
    if isinstance(thing, Source):
        return thing
    missing = [name for name in ("__len__", "read", "label") if not hasattr(thing, name)]
    if missing:
        raise TypeError(f"{type(thing).__name__} is no source of samples: it has no {', '.join(missing)}")
    importable(type(thing))
    return _OwnSource(thing)


def importable(thing):
    """TypeError where a class or function is one that worker processes cannot import."""
    if thing.__module__ == "__main__" or "<locals>" in thing.__qualname__ or "<lambda>" in thing.__qualname__:
        raise TypeError(f"{thing.__qualname__}: workers import it by name, so it has to stand in a module of its own")
