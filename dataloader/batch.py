"""What the loader hands out: a batch as views into a slot of the ring, and the labels of mixed pictures."""

from dataclasses import dataclass

import numpy as np

from cellwright.kernels.image.mix import mix_batch


@dataclass(frozen=True)
class Batch:
    """Views into a slot of the ring, valid until the next batch is asked for; unpacks as (images, labels,
    weights).

    images (B, H, W, 3) uint8, or (B, 3, H, W) float32; labels (B,) int32; weights (B,) float32, 0 where a
    place is padded; ids (B,) int64. With mixup or CutMix `shares` (B,) float32 says how much of each picture is its
    own, and `partner_labels` (B,) int32 what the rest is; else both are None.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    ids: np.ndarray
    epoch: int
    index: int
    partner_labels: np.ndarray | None = None
    shares: np.ndarray | None = None

    def __iter__(self):
        return iter((self.images, self.labels, self.weights))

    def __len__(self):
        return len(self.labels)

    def soft_labels(self, classes, smoothing=0.0):
        """Float32 (B, classes): the share of each class in each picture, with `smoothing` of it spread over all."""
        rows = np.arange(len(self))
        found = np.zeros((len(self), classes), np.float32)
        shares = np.ones(len(self), np.float32) if self.shares is None else self.shares
        found[rows, self.labels] = shares
        if self.partner_labels is not None:
            np.add.at(found, (rows, self.partner_labels), 1 - shares)
        return found * np.float32(1 - smoothing) + np.float32(smoothing / classes)


class BatchMixer:
    """Does mixup and CutMix to finished batches, with a buffer of its own."""

    def __init__(self, mixup, cutmix, seed):
        self.mixup, self.cutmix, self.seed = mixup, cutmix, seed
        self._spare = None

    def __call__(self, images, labels, ids, epoch):
        """Mixes `images` in place; returns (partner labels, shares)."""
        if self._spare is None:
            self._spare = np.empty_like(images[0])
        shares = np.empty(len(ids), np.float32)
        last = images.dtype == np.uint8
        mix_batch(images, ids, float(self.mixup), float(self.cutmix), self.seed, epoch, last, self._spare, shares)
        return labels[::-1].copy(), shares
