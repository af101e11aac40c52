"""CIFAR-10's binary form: files of 3,073-byte records, a label and three planes of 32 x 32."""

from pathlib import Path

import numpy as np

from cellwright.dataloader.sources.source import Source
from cellwright.kernels.image.records import RECORD_BYTES, record_image

TRAIN_FOLDER, EVAL_FOLDER = "cifar-10-batches-bin", "cifar-10-verify-bin"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Cifar10(Source):
    """The records of one split ("train" or "eval") below `root`, any number a file.

    Training reads `cifar-10-batches-bin/data_batch_*.bin`, never its `test_batch.bin`, which the official
    archive puts there; evaluation reads `cifar-10-verify-bin/*.bin`, or where that folder is missing the
    `test_batch.bin` of the training folder. `root` may be a split's own folder.
    """

    classes = CLASSES
    encoded = False

    def __init__(self, root, split="train"):
        self.files = find_files(Path(root), split)
        counts = [_count(path) for path in self.files]
        self.starts = np.concatenate([[0], np.cumsum(counts)])
        # Copies, so that the process that plans keeps 1 byte a sample and not the pictures.
        labels = [np.memmap(path, np.uint8, "r")[::RECORD_BYTES].astype(np.int32) for path in self.files]
        self.labels = np.concatenate(labels)
        worst = int(self.labels.max())
        if worst >= len(CLASSES):
            raise ValueError(
                f"{self.path(int(self.labels.argmax()))}: label {worst}, allowed are 0 to {len(CLASSES) - 1}"
            )

    def path(self, sample):
        file = int(np.searchsorted(self.starts, sample, "right")) - 1
        return f"{self.files[file]}#{sample - int(self.starts[file])}"

    def read(self, sample):
        return record_image(self.records[sample])

    def prepare(self):
        if self.records is None:
            self.records = np.concatenate(
                [np.fromfile(path, np.uint8).reshape(-1, RECORD_BYTES) for path in self.files]
            )


def find_files(root, split):
    """The sorted files of a split; ValueError where there are none."""
    if split not in ("train", "eval"):
        raise ValueError(f"split={split!r}: allowed are train, eval")
    train, held_out = (root / name if (root / name).is_dir() else None for name in (TRAIN_FOLDER, EVAL_FOLDER))
    if split == "train":
        folder = train or root
        files = sorted(f for f in folder.glob("*.bin") if "batch" in f.name and not f.name.startswith("test"))
    else:
        folder = held_out or train or root
        files = sorted(folder.glob("*.bin" if held_out else "test*.bin"))
        if not files and folder is root:
            files = sorted(root.glob("*.bin"))
    if not files:
        raise ValueError(f"{folder}: no CIFAR-10 binary file of the {split} split (data_batch_*.bin, test_batch.bin)")
    return [str(f) for f in files]


def _count(path):
    size = Path(path).stat().st_size
    if not size or size % RECORD_BYTES:
        raise ValueError(f"{path}: {size} bytes are no whole number of CIFAR-10 records of {RECORD_BYTES} bytes")
    return size // RECORD_BYTES
