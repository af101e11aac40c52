"""The samples of a task, one after the other, straight into their places in the batch."""

from time import perf_counter_ns

from cellwright.dataloader.apply_transform import ApplyTransform
from cellwright.dataloader.decode.decoders import BadImage
from cellwright.dataloader.decode.picture import open_picture
from cellwright.dataloader.quarantine import substitutes
from cellwright.dataloader.workers.ring_buffer import AUGMENT_NS, DECODE_NS, MADE, READ_NS, SAMPLE
from cellwright.dataloader.workers.spans import AUGMENT, DECODE, READ
from cellwright.kernels.image.records import SIDE, crop_records


class SampleWriter:
    """Makes the pictures of one loader; every process that has one makes the same bytes of the same (epoch,
    sample).

    In the place of a file that cannot be used comes another sample, or with `mask_bad` (evaluation) an empty
    picture of weight 0.
    """

    def __init__(self, source, transform, seed, normalise=None, mask_bad=False):
        self.source, self.transform, self.seed, self.mask_bad = source, transform, seed, mask_bad
        self.spans = None  # a SpanRing while a profile is taken
        self.apply = ApplyTransform(transform, seed, normalise)
        self.whole_records = source.records is not None and normalise is None and transform.keeps_pixels(SIDE)

    def write(self, epoch, ids, images, labels, weights, row):
        """Fills `images`, `labels` and `weights` for `ids` (-1: a padded place of weight 0); `row` is this
        worker's row of the ring.

        Returns [(sample, reason)] of the files that could not be used.
        """
        if self.whole_records and ids.min() >= 0:
            return self._write_records(epoch, ids, images, labels, weights, row)
        found = []
        for n, sample in enumerate(ids.tolist()):
            if sample < 0:
                images[n], labels[n], weights[n] = 0, 0, 0.0
                continue
            row[SAMPLE] = sample
            used = self._write_good(epoch, sample, images[n], row, found)
            labels[n], weights[n] = (0, 0.0) if used is None else (self.source.label(used), 1.0)
            row[MADE] += 1
        row[SAMPLE] = -1
        return found

    def _write_records(self, epoch, ids, images, labels, weights, row):
        """All in one kernel: some 4 microseconds a picture, where one call each would take 20."""
        row[SAMPLE] = ids[0]
        began = perf_counter_ns()
        t = self.transform
        pad, flip = (t.crop_padding if t.crop == "pad" else 0, t.flip) if t.train else (0, 0.0)
        crop_records(self.source.records, ids, self.seed, epoch, pad, flip, images)
        labels[:] = self.source.labels[ids]
        weights[:] = 1.0
        row[AUGMENT_NS] += perf_counter_ns() - began
        if self.spans is not None:
            self.spans.add(AUGMENT, began, perf_counter_ns(), ids[0])
        row[MADE] += len(ids)
        row[SAMPLE] = -1
        return []

    def _write_good(self, epoch, sample, out, row, found):
        """Writes `sample`, or what stands in for it, and returns the sample whose picture that is."""
        reason = self._try(epoch, sample, sample, out, row)
        if reason is None:
            return sample
        found.append((sample, reason))
        if self.mask_bad:
            out[:] = 0
            return None
        for other in substitutes(sample, len(self.source), self.seed):
            why = self._try(epoch, sample, other, out, row)
            if why is None:
                return other
            found.append((other, why))
        raise BadImage(f"{self.source.path(sample)}: {reason}, and no other file could take its place")

    def _try(self, epoch, sample, file, out, row):
        """Writes the picture of `file` with the random draws of `sample`; returns why it cannot be used, or None.

        Nothing is remembered of bad files: which samples stand in for which must not depend on what this worker
        has seen before.
        """
        try:
            t0 = perf_counter_ns()
            picture = open_picture(self.source.read(file), self.source.notes(file))
            t1 = perf_counter_ns()
            decode_ns = self.apply(picture, epoch, sample, out)
            t2 = perf_counter_ns()
        except (BadImage, OSError) as error:
            return " ".join(str(error).split())[:200]
        row[READ_NS] += t1 - t0
        row[DECODE_NS] += decode_ns
        row[AUGMENT_NS] += t2 - t1 - decode_ns
        if self.spans is not None:
            self.spans.add(READ, t0, t1, file)
            self.spans.add(DECODE, t1, t1 + decode_ns, file)
            self.spans.add(AUGMENT, t1 + decode_ns, t2, file)
        return None
