"""What a source of samples offers, and the form in which paths are kept."""

import os

import numpy as np

from cellwright.dataloader.decode.picture import Encoded, Record


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
    """N samples with a label each. Subclasses set `labels` (N,) int32 and `classes` (a list of names) and say
    where sample k lies.

    Either `read(k)` gives the bytes of an image file, or `records` (N, 3073) holds CIFAR-10 records in memory
    (after `prepare`, and `encoded` is False).
    """

    labels = None
    classes = ()
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
        """The bytes of a sample's image file."""
        raise NotImplementedError

    def open(self, sample):
        """The sample's picture, see `dataloader.picture`. Raises BadImage or OSError."""
        return Encoded(self.read(sample)) if self.encoded else Record(self.records[sample])

    def prepare(self):
        """Called once where the workers are forked from, before they are: what is loaded here is shared by
        all of them.
        """
