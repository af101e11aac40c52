"""Which samples make up each batch: pure functions of (seed, epoch, rank, size, batch size), on which
everything else rests.

The batches of all ranks interleave to the batches of one rank: rank r's batch b holds the global batch b *
size + r.
"""

from dataclasses import dataclass

import numpy as np

from cellwright.kernels.image.philox import permutation

TAILS = ("drop", "wrap", "pad")


@dataclass(frozen=True)
class Sampler:
    """The schedule of one rank over `samples` samples.

    tail: "drop" leaves out the samples that do not fill a batch on every rank, "wrap" fills up with the
    epoch's first ones, "pad" fills up with the mark -1, so that every sample comes exactly once over all
    ranks.
    """

    samples: int
    batch_size: int
    rank: int = 0
    size: int = 1
    seed: int = 0
    shuffle: bool = True
    tail: str = "drop"

    def __post_init__(self):
        if self.tail not in TAILS:
            raise ValueError(f"tail={self.tail!r}: allowed are {', '.join(TAILS)}")
        if self.samples < 1:
            raise ValueError(f"samples={self.samples}: the source is empty")
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: at least 1 is needed")
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank={self.rank}: allowed are 0 to {self.size - 1} for {self.size} ranks")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed={self.seed}: allowed are 0 to 2**63 - 1")
        if not len(self):
            raise ValueError(
                f"batch_size={self.batch_size} on {self.size} ranks: {self.samples} samples do not fill one batch a "
                "rank; take a smaller batch or tail='wrap'"
            )

    def __len__(self):
        step = self.batch_size * self.size
        return self.samples // step if self.tail == "drop" else -(-self.samples // step)

    def order(self, epoch):
        """Int64 (samples,): the order of all samples in `epoch`, the same on every rank."""
        if not 0 <= epoch < 2**32:
            raise ValueError(f"epoch={epoch}: allowed are 0 to 2**32 - 1")
        return permutation(self.samples, self.seed, epoch) if self.shuffle else np.arange(self.samples)

    def batch(self, order, index):
        """Int64 (batch_size,): sample ids of this rank's batch `index`, with -1 in padded places."""
        first = (index * self.size + self.rank) * self.batch_size
        ids = order[first : first + self.batch_size]
        missing = self.batch_size - ids.size
        if not missing:
            return ids
        if self.tail == "wrap":
            return order[(first + np.arange(self.batch_size)) % self.samples]
        return np.concatenate([ids, np.full(missing, -1, np.int64)])
