"""What several tests of the loader use: the digest of a batch, and a folder's files once more, some of them changed."""

import hashlib
from pathlib import Path

import numpy as np

from cellwright.dataloader import ImageFolder


def digest(batch):
    h = hashlib.sha1()
    for array in (*batch, batch.ids):
        h.update(np.ascontiguousarray(array))
    return h.hexdigest()


def copied(source, root, content=lambda k, data: data):
    """Returns the ImageFolder of the same classes and names below root; content: a sample and its file's bytes to
    those that are written.
    """
    for k in range(len(source)):
        path = root / source.classes[source.label(k)] / Path(source.path(k)).name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content(k, source.read(k)))
    return ImageFolder(root)
