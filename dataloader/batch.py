"""What the loader hands out: a batch as views into a slot of the ring, and the labels of mixed pictures."""

from dataclasses import dataclass, field

import numpy as np

from cellwright.kernels.image.mix import mix_batch


@dataclass(frozen=True)
class Batch:
    """Views into a slot of the ring, valid until the next batch is asked for; unpacks as (images, labels, weights),
    with mixup or CutMix as (images, soft labels, weights), and with fields as (images, labels, weights, fields).

    images (B, H, W, 3) uint8, or (B, 3, H, W) float32; labels (B,) int32; weights (B,) float32, 0 where a
    place is padded; ids (B,) int64. With mixup or CutMix `shares` (B,) float32 says how much of each picture is its
    own, and `partner_labels` (B,) int32 what the rest is; else both are None. classes: how many there are. fields:
    name -> array (B, ...) of what the transform's `fields` say.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    ids: np.ndarray
    epoch: int
    index: int
    partner_labels: np.ndarray | None = None
    shares: np.ndarray | None = None
    classes: int = 0
    fields: dict = field(default_factory=dict)

    def __iter__(self):
        labels = self.labels if self.shares is None else self.soft_labels()
        return iter((self.images, labels, self.weights, *([self.fields] if self.fields else [])))

    def __len__(self):
        return len(self.labels)

    def soft_labels(self, classes=None):
        """Float32 (B, classes): each picture's share of each class. classes: by default as many as the loader's."""
        rows, classes = np.arange(len(self)), classes or self.classes
        found = np.zeros((len(self), classes), np.float32)
        shares = np.ones(len(self), np.float32) if self.shares is None else self.shares
        found[rows, self.labels] = shares
        if self.partner_labels is not None:
            np.add.at(found, (rows, self.partner_labels), 1 - shares)
        return found


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
