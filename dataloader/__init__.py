"""Files on disk -> batches in shared memory: many processes, the same bytes every time. Needs neither
MindSpore nor MPI.
"""

import warnings

from cellwright.dataloader.batch import Batch
from cellwright.dataloader.decode.decoders import BadImage
from cellwright.dataloader.fields import Boxes, Mask, Numbers, Picture
from cellwright.dataloader.ledger import Ledger, LedgerMismatch
from cellwright.dataloader.loader import Loader
from cellwright.dataloader.quarantine import TooManyBadFiles
from cellwright.dataloader.sampler import Sampler
from cellwright.dataloader.sources.cifar import Cifar10
from cellwright.dataloader.sources.folder import ImageFolder
from cellwright.dataloader.sources.listfile import ListFile
from cellwright.dataloader.sources.pack import Pack, PackWriter
from cellwright.dataloader.sources.source import Source
from cellwright.dataloader.torch_batches import TorchBatches
from cellwright.dataloader.transforms import EvalTransform, TrainTransform
from cellwright.dataloader.workers.forkserver import start_forkserver

__all__ = [
    "BadImage",
    "Batch",
    "Boxes",
    "Cifar10",
    "EvalTransform",
    "ImageFolder",
    "Ledger",
    "LedgerMismatch",
    "ListFile",
    "Loader",
    "Mask",
    "Numbers",
    "Pack",
    "PackWriter",
    "Picture",
    "Sampler",
    "Source",
    "TooManyBadFiles",
    "TorchBatches",
    "TrainTransform",
    "start_forkserver",
]

_OLD_NAMES = {"start_nursery": "start_forkserver", "Plan": "Sampler"}


def __getattr__(name):
    if name not in _OLD_NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    new = _OLD_NAMES[name]
    warnings.warn(
        f"dataloader.{name} is now dataloader.{new}; the old name goes with the next release",
        DeprecationWarning,
        stacklevel=2,
    )
    return globals()[new]
