"""Files on disk -> batches in shared memory: many processes, the same bytes every time. Needs neither
MindSpore nor MPI.
"""

from cellwright.dataloader.decode.image import BadImage
from cellwright.dataloader.ledger import Ledger, LedgerMismatch
from cellwright.dataloader.loader import Batch, Loader
from cellwright.dataloader.quarantine import TooManyBadFiles
from cellwright.dataloader.sampler import Plan
from cellwright.dataloader.sources.cifar import Cifar10
from cellwright.dataloader.sources.folder import ImageFolder
from cellwright.dataloader.sources.listfile import ListFile
from cellwright.dataloader.sources.pack import Pack, PackWriter
from cellwright.dataloader.sources.source import Source
from cellwright.dataloader.transform import EvalTransform, TrainTransform
from cellwright.dataloader.workers.forkserver import start_nursery

__all__ = [
    "BadImage",
    "Batch",
    "Cifar10",
    "EvalTransform",
    "ImageFolder",
    "Ledger",
    "LedgerMismatch",
    "ListFile",
    "Loader",
    "Pack",
    "PackWriter",
    "Plan",
    "Source",
    "TooManyBadFiles",
    "TrainTransform",
    "start_nursery",
]
