"""What a transform makes of one picture: where to look, how to resize, what to do to the colours."""

from time import perf_counter_ns

import cv2
import numpy as np

from cellwright.dataloader.fields import Geometry
from cellwright.kernels.image.crop import flips, pad_offsets, random_resized_box
from cellwright.kernels.image.erase import cutout, erased_box, fill_box
from cellwright.kernels.image.jitter import BLOCK, jitter
from cellwright.kernels.image.layout import normalise_chw, scale_and_shift
from cellwright.kernels.image.policy import augment
from cellwright.kernels.image.records import crop_padded
from cellwright.kernels.image.resample import resample, taps_needed

_CUSTOM_KEY = 0x6375_7374_6F6D  # apart from every other use of the seed


def sample_random(seed, epoch, sample):
    """Returns a numpy Generator whose numbers depend on (seed, epoch, sample) alone."""
    return np.random.Generator(np.random.Philox(key=[seed, _CUSTOM_KEY], counter=[0, 0, sample, epoch]))


class ApplyTransform:
    """Puts pictures through one transform, with buffers of its own. geometry: the Geometry of the latest one."""

    def __init__(self, transform, seed, normalise=None):
        self.geometry = None
        self.transform, self.seed = transform, seed
        self.normalise = None if normalise is None else scale_and_shift(*normalise)
        self.side = transform.image_size
        self.canvas = np.zeros((self.side, self.side, 3), np.uint8)
        self.row = np.zeros(1 << 12, np.float32)
        self.starts = np.zeros((2, self.side), np.int64)
        self.line = np.zeros(self.side, np.float32)
        if transform.train:
            self.widths, self.order, self.factor = (
                np.array(transform.jitter),
                np.zeros(4, np.int64),
                np.zeros(4),
            )
            self.room = np.zeros((4, BLOCK), np.float32)
            self.fill = np.array(transform.cutout_fill, np.uint8)
            self.spare = np.zeros_like(self.canvas)
            self.counts, self.tables = np.zeros((3, 256), np.int64), np.zeros((3, 256), np.uint8)

    def __call__(self, picture, epoch, sample, out):
        """Writes (S, S, 3) uint8, or with `normalise` (3, S, S) float32, to `out`; returns the nanoseconds
        spent on decoding.
        """
        target = out if self.normalise is None else self.canvas
        if self.transform.train:
            mirrored, spent = self._train(picture, epoch, sample, target)
        else:
            mirrored, spent = False, self._evaluate(picture, target)
        if self.transform.custom is not None:
            if mirrored:
                cv2.flip(target, 1, dst=target)
                mirrored = False
            self.transform.custom(target, sample_random(self.seed, epoch, sample))
        if self.normalise is not None:
            normalise_chw(target, *self.normalise, mirrored, self.line, out)
        elif mirrored:
            cv2.flip(target, 1, dst=target)
        return spent

    def _train(self, picture, epoch, sample, target):
        """Writes the crop to `target`; returns whether it is still to be mirrored, and the nanoseconds of
        decoding.
        """
        t = self.transform
        mirrored = flips(t.flip, self.seed, epoch, sample)
        box = (0, 0, picture.height, picture.width)
        if t.crop == "random_resized":
            box = random_resized_box(
                picture.height, picture.width, self.seed, epoch, sample, *t.crop_scale, *t.crop_ratio
            )
        self.geometry = Geometry(*box, mirrored, self.side)
        began = perf_counter_ns()
        image, top, left, shrink = picture.pixels(box, (0, 0) if t.antialias else (self.side, self.side))
        spent = perf_counter_ns() - began
        if t.crop == "pad":
            dy, dx = pad_offsets(t.crop_padding, self.seed, epoch, sample)
            self.geometry = Geometry(dy, dx, *box[2:], mirrored, self.side)
            moved = target if image.shape == target.shape else np.empty_like(image)
            crop_padded(image, dy, dx, mirrored, moved)
            image, mirrored = moved, False
        if image is not target:
            self._resize(
                image,
                (box[0] - top) / shrink,
                (box[1] - left) / shrink,
                box[2] / shrink,
                box[3] / shrink,
                target,
            )
        if any(t.jitter):
            jitter(target, self.widths, self.seed, epoch, sample, self.order, self.factor, self.room)
        if t.policy != "none":
            count, magnitude = (t.policy_operations, t.policy_magnitude) if t.policy == "rand" else (1, -1)
            augment(target, count, magnitude, self.seed, epoch, sample, self.spare, self.room, self.counts, self.tables)
        self._erase(epoch, sample, target)
        return mirrored, spent

    def _erase(self, epoch, sample, target):
        t = self.transform
        if t.cutout:
            cutout(target, t.cutout, self.fill, self.seed, epoch, sample)
        if t.erasing:
            where = erased_box(
                self.side, self.side, t.erasing, *t.erasing_scale, *t.erasing_ratio, self.seed, epoch, sample
            )
            fill_box(target, *where, self.fill)

    def _resize(self, image, top, left, height, width, target):
        """The box of `image`, perhaps not of whole pixels, to the whole of `target`."""
        whole = (int(top), int(left), int(height), int(width))
        if whole != (top, left, height, width) or (self.transform.antialias and max(height, width) > self.side):
            rows, columns = image.shape[:2]
            bounds = (
                max(int(top), 0),
                min(int(np.ceil(top + height)), rows) - 1,
                max(int(left), 0),
                min(int(np.ceil(left + width)), columns) - 1,
            )
            self._resample(image, top, left, height / self.side, width / self.side, bounds, target)
            return
        y, x, h, w = whole
        part = image[y : y + h, x : x + w]
        if part.shape == target.shape:
            target[:] = part
        else:
            cv2.resize(part, (self.side, self.side), dst=target, interpolation=cv2.INTER_LINEAR)

    def _evaluate(self, picture, target):
        """Resize and centre crop; returns the nanoseconds of decoding."""
        height, width = self.transform.resized(picture.height, picture.width)
        top, left = (height - self.side) // 2, (width - self.side) // 2
        down, across = picture.height / height, picture.width / width
        self.geometry = Geometry(top * down, left * across, self.side * down, self.side * across, False, self.side)
        began = perf_counter_ns()
        image, _, _, _ = picture.pixels()
        spent = perf_counter_ns() - began
        if self.transform.antialias:
            bounds = (0, picture.height - 1, 0, picture.width - 1)
            self._resample(image, top * down, left * across, down, across, bounds, target)
            return spent
        if image.shape[:2] != (height, width):
            # All of it, and yet in half the time that `resample` takes for the crop alone.
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        target[:] = image[top : top + self.side, left : left + self.side]
        return spent

    def _resample(self, image, top, left, scale_y, scale_x, bounds, target):
        antialias = self.transform.antialias
        if self.row.size < 3 * image.shape[1] + 1:
            self.row = np.zeros(3 * image.shape[1] + 1, np.float32)
        down = np.empty((self.side, taps_needed(scale_y, antialias, bounds[1] - bounds[0] + 1)), np.float32)
        across = np.empty((self.side, taps_needed(scale_x, antialias, bounds[3] - bounds[2] + 1)), np.float32)
        where = float(top), float(left), float(scale_y), float(scale_x), bounds
        resample(image, *where, antialias, target, self.row, self.starts, down, across)
