"""Files on disk -> batches in shared memory: many processes, the same bytes every time. Needs neither
MindSpore nor MPI.
"""

from dataloader.cifar import Cifar10
from dataloader.decode import BadImage
from dataloader.folder import ImageFolder
from dataloader.ledger import Ledger, LedgerMismatch
from dataloader.listfile import ListFile
from dataloader.loader import Batch, Loader
from dataloader.nursery import start_nursery
from dataloader.pack import Pack, PackWriter
from dataloader.plan import Plan
from dataloader.quarantine import TooManyBadFiles
from dataloader.source import Source
from dataloader.transform import EvalTransform, TrainTransform

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
