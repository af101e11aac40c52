"""One sample: read, decode, crop, resize, mirror, straight into its place in the batch."""

from time import perf_counter_ns

import cv2
import numpy as np

from dataloader.arena import AUGMENT_NS, DECODE_NS, MADE, READ_NS, SAMPLE
from dataloader.decode import BadImage, decode
from dataloader.quarantine import substitutes
from kernels.crop import flips, pad_offsets, random_resized_box
from kernels.layout import normalise_chw, normalise_table
from kernels.records import SIDE, crop_padded, crop_records, record_to_image


class Painter:
    """Makes the pictures of one loader; every process that has one makes the same bytes of the same (epoch, sample).

    In the place of a file that cannot be used comes another sample, or with `mask_bad` (evaluation) an empty picture of weight 0.
    """

    def __init__(self, source, transform, seed, normalise=None, mask_bad=False):
        self.source, self.transform, self.seed, self.mask_bad = source, transform, seed, mask_bad
        self.bad = {}  # sample -> reason
        self.table = None if normalise is None else normalise_table(*normalise)
        side = transform.image_size
        self.canvas = np.zeros((side, side, 3), np.uint8)
        self.record = np.zeros((SIDE, SIDE, 3), np.uint8)
        crop = transform.crop if transform.train else "none"
        self.whole_records = (
            source.records is not None and crop != "random_resized" and self.table is None and side == SIDE
            and (self._plain() if transform.train else transform.resize == "direct")
        )

    def _plain(self):
        return not any(self.transform.jitter) and not self.transform.cutout

    def paint(self, epoch, ids, images, labels, weights, row):
        """Fills `images`, `labels` and `weights` for `ids` (-1: a padded place of weight 0); `row` is this worker's row of the arena.

        Returns [(sample, reason)] of the files that could not be used.
        """
        if self.whole_records and ids.min() >= 0:
            row[SAMPLE] = ids[0]
            began = perf_counter_ns()
            t = self.transform
            pad, flip = (t.pad if t.crop == "pad" else 0, t.flip) if t.train else (0, 0.0)
            crop_records(self.source.records, ids, self.seed, epoch, pad, flip, images)
            labels[:] = self.source.labels[ids]
            weights[:] = 1.0
            row[AUGMENT_NS] += perf_counter_ns() - began
            row[MADE] += len(ids)
            row[SAMPLE] = -1
            return []
        found = []
        for n, sample in enumerate(ids.tolist()):
            if sample < 0:
                images[n], labels[n], weights[n] = 0, 0, 0.0
                continue
            row[SAMPLE] = sample
            used = self._paint_good(epoch, sample, images[n], row, found)
            labels[n], weights[n] = (0, 0.0) if used is None else (self.source.labels[used], 1.0)
            row[MADE] += 1
        row[SAMPLE] = -1
        return found

    def _paint_good(self, epoch, sample, out, row, found):
        """Paints `sample`, or what stands in for it, and returns the sample whose picture that is."""
        if self._try(epoch, sample, sample, out, row):
            return sample
        found.append((sample, self.bad[sample]))
        if self.mask_bad:
            out[:] = 0
            return None
        for other in substitutes(sample, len(self.source), self.seed):
            if self._try(epoch, sample, other, out, row):
                return other
            found.append((other, self.bad[other]))
        raise BadImage(f"{self.source.path(sample)}: {self.bad[sample]}, and no other file could take its place")

    def _try(self, epoch, sample, file, out, row):
        if file not in self.bad:
            try:
                self._paint_one(epoch, sample, file, out, row)
                return True
            except (BadImage, OSError) as error:
                self.bad[file] = " ".join(str(error).split())[:200]
        return False

    def _paint_one(self, epoch, sample, file, out, row):
        """Paints the picture of `file` with the random draws of `sample`."""
        t0 = perf_counter_ns()
        if self.source.records is not None:
            t1 = t0
            image = self.record
            record_to_image(self.source.records[file], image)
        else:
            data = self.source.read(file)
            t1 = perf_counter_ns()
            image = decode(data)
        t2 = perf_counter_ns()
        target = out if self.table is None else self.canvas
        if self.transform.train:
            mirrored = self._train(epoch, sample, image, target)
        else:
            mirrored = False
            self._evaluate(image, target)
        if self.table is not None:
            normalise_chw(target, self.table, mirrored, out)
        elif mirrored:
            cv2.flip(target, 1, dst=target)
        row[READ_NS] += t1 - t0
        row[DECODE_NS] += t2 - t1
        row[AUGMENT_NS] += perf_counter_ns() - t2

    def _train(self, epoch, sample, image, target):
        """Writes the crop to `target` and returns whether it is still to be mirrored."""
        t = self.transform
        height, width = image.shape[:2]
        mirrored = flips(t.flip, self.seed, epoch, sample)
        if t.crop == "pad":
            dy, dx = pad_offsets(t.pad, self.seed, epoch, sample)
            if (height, width) == target.shape[:2]:
                crop_padded(image, dy, dx, mirrored, target)
                return False
            moved = np.empty_like(image)
            crop_padded(image, dy, dx, False, moved)
            image = moved
        elif t.crop == "random_resized":
            top, left, h, w = random_resized_box(height, width, self.seed, epoch, sample, *t.crop_scale, *t.crop_ratio)
            image = image[top : top + h, left : left + w]
        _resize(image, target)
        return mirrored

    def _evaluate(self, image, target):
        height, width = self.transform.resized(*image.shape[:2])
        side = self.transform.image_size
        if (height, width) == (side, side):
            _resize(image, target)
            return
        if image.shape[:2] != (height, width):
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        top, left = (height - side) // 2, (width - side) // 2
        target[:] = image[top : top + side, left : left + side]


def _resize(image, target):
    if image.shape == target.shape:
        target[:] = image
    else:
        cv2.resize(image, target.shape[1::-1], dst=target, interpolation=cv2.INTER_LINEAR)
