"""The samples of a task, one after the other, straight into their places in the batch."""

from time import perf_counter_ns

from cellwright.dataloader.apply_transform import ApplyTransform
from cellwright.dataloader.decode.decoders import BadImage
from cellwright.dataloader.decode.picture import open_picture
from cellwright.dataloader.fields import Picture
from cellwright.dataloader.quarantine import substitutes
from cellwright.dataloader.workers.messages import NoSubstitute
from cellwright.dataloader.workers.ring_buffer import AUGMENT_NS, DECODE_NS, MADE, READ_NS, SAMPLE
from cellwright.dataloader.workers.spans import AUGMENT, DECODE, READ
from cellwright.kernels.image.records import SIDE, crop_records

_OWN_DRAWS = 1 << 40  # from one seed to that of a further picture which draws for itself: beyond any that is typed


def _clear(places):
    for place in places:
        place[...] = 0


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
        self.others = {
            field.name: ApplyTransform(transform, seed + (place + 1) * _OWN_DRAWS * field.own_draws, normalise)
            for place, field in enumerate(transform.fields)
            if isinstance(field, Picture)
        }
        self.whole_records = source.records is not None and normalise is None and transform.keeps_pixels(SIDE)

    def write(self, epoch, ids, images, labels, weights, row, fields=()):
        """Fills `images`, `labels`, `weights` and the arrays of `fields`, in the order of the transform's, for `ids`
        (-1: a padded place of weight 0); `row` is this worker's row of the ring.

        Returns [(sample, reason)] of the files that could not be used; NoSubstitute where nothing takes a file's place.
        """
        if self.whole_records and ids.min() >= 0:
            return self._write_records(epoch, ids, images, labels, weights, row)
        found = []
        for n, sample in enumerate(ids.tolist()):
            places = [images[n, ...], *(array[n, ...] for array in fields)]
            if sample < 0:
                labels[n], weights[n] = 0, 0.0
                _clear(places)
                continue
            row[SAMPLE] = sample
            used = self._write_good(epoch, sample, places, row, found)
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

    def _write_good(self, epoch, sample, places, row, found):
        """Writes `sample`, or what stands in for it, and returns the sample whose picture that is."""
        reason = self._try(epoch, sample, sample, places, row)
        if reason is None:
            return sample
        found.append((sample, reason))
        if self.mask_bad:
            _clear(places)
            return None
        for other in substitutes(sample, len(self.source), self.seed):
            why = self._try(epoch, sample, other, places, row)
            if why is None:
                return other
            found.append((other, why))
        raise NoSubstitute(f"{self.source.path(sample)}: {reason}, and no other file could take its place", found)

    def _try(self, epoch, sample, file, places, row):
        """Writes the picture of `file` with the random draws of `sample`; returns why it cannot be used, or None.

        Nothing is remembered of bad files: which samples stand in for which must not depend on what this worker
        has seen before.
        """
        try:
            t0 = perf_counter_ns()
            values = self.source.read(file)
            image = values["image"] if isinstance(values, dict) else values
            picture = open_picture(image, self.source.notes(file))
            t1 = perf_counter_ns()
            decode_ns = self.apply(picture, epoch, sample, places[0])
            if self.transform.fields:
                self._write_fields(values, picture, epoch, sample, file, places[1:])
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

    def _write_fields(self, values, picture, epoch, sample, file, places):
        """Writes what a sample holds beside its picture and label; ValueError with path and field where it does not
        fit.
        """
        for field, place in zip(self.transform.fields, places):
            try:
                if not isinstance(field, Picture):
                    field.write(values[field.name], picture, self.apply.geometry, place)
                    continue
                other = picture if field.source == "image" else open_picture(values[field.source])
                if not field.own_draws and (other.height, other.width) != (picture.height, picture.width):
                    raise ValueError("of another size than the picture whose draws it shares")
                self.others[field.name](other, epoch, sample, place)
            except BadImage:
                raise
            except (KeyError, ValueError, TypeError, IndexError) as error:
                why = "read(k) gives no such value" if isinstance(error, (KeyError, IndexError)) else error
                raise ValueError(f"{self.source.path(file)}: field {field.name!r}: {why}") from error
