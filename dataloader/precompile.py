"""Compiles the kernels that workers call, for the types with which they call them, before the first fork.

    python -m cellwright.dataloader.precompile

compiles all there are, for this machine's instructions, into numba's cache; else a loader compiles its own at the
first start.
"""

import dataclasses

import cv2
import numpy as np
import simplejpeg

from cellwright.dataloader.batch import BatchMixer
from cellwright.dataloader.compiling import compiling
from cellwright.dataloader.decode.jpeg import read_frame
from cellwright.dataloader.decode.jpeg_cut import Cutter, pack_notes, unpack_notes
from cellwright.dataloader.decode.jpeg_region import RegionDecoder
from cellwright.dataloader.sample_writer import SampleWriter
from cellwright.dataloader.sources.image_suffixes import EXTENSIONS
from cellwright.dataloader.sources.source import Source
from cellwright.dataloader.transforms import EvalTransform, TrainTransform
from cellwright.kernels.image.jitter import BLOCK
from cellwright.kernels.image.philox import permutation
from cellwright.kernels.image.policy import OPERATIONS, operate
from cellwright.kernels.image.records import record_image


class _Sample(Source):
    """Two samples of a form: "records", "png" or "raw"."""

    def __init__(self, form):
        self.labels = np.zeros(2, np.int32)
        self.encoded = form != "records"
        if form == "records":
            self.records = np.zeros((2, 3073), np.uint8)
        self.form = form

    def read(self, sample):
        if self.form == "raw":  # read-only, as what is mapped from a file
            return np.frombuffer(bytes(6000), np.uint8).reshape(40, 50, 3)
        if self.form == "png":
            return cv2.imencode(".png", np.zeros((40, 50, 3), np.uint8))[1].tobytes()
        return record_image(self.records[sample])


def precompile(source=None, transform=None, normalise=None):
    """Compiles what a loader of (source, transform, normalise) needs, and yields on the way, where whoever asked may
    turn to something else. Without arguments: what most loaders need.
    """
    kinds = _kinds(source) if source is not None else ("png", "raw", "jpeg")
    with compiling():
        yield from _parts(kinds, transform or TrainTransform(), normalise)


def _kinds(source):
    """What its samples may be: "records" alone, or of "png" (any whole file), "raw", "jpeg" and "located jpeg"."""
    if source.records is not None:
        return ("records",)
    if not _may_hold_jpegs(source):
        return "png", "raw"
    return "png", "raw", "jpeg", *(["located jpeg"] if type(source).notes is not Source.notes else [])


def _parts(kinds, transform, normalise):
    transform = dataclasses.replace(transform, custom=None, fields=())
    permutation(4, 0, 0)
    yield
    for form in kinds:
        if "jpeg" not in form:
            _write(form, transform, normalise)
            yield
    if transform.train and "jpeg" in kinds:
        if transform.crop == "random_resized":
            yield from _jpeg("located jpeg" in kinds)
        _resample(transform, normalise)  # of a shrunk JPEG the box is not of whole pixels
        yield
    elif transform.antialias:
        _resample(transform, normalise)
    if transform.train and transform.policy != "none":
        yield from _operations()
    if transform.train and (transform.mixup or transform.cutmix):
        ids, images = _batch(transform, normalise)
        BatchMixer(transform.mixup, transform.cutmix, 0)(images, np.zeros(2, np.int32), ids, 0)


def _may_hold_jpegs(source):
    """False where 64 names say otherwise. Were there a JPEG all the same, workers would compile for it."""
    count = len(source)
    places = range(0, count, max(1, count // 64))
    others = tuple(set(EXTENSIONS) - {".jpg", ".jpeg", ".jpe"})
    try:
        return not all(source.path(k).lower().endswith(others) for k in places)
    except Exception:  # of a source of one's own: for the worker that meets it to tell
        return True


def _batch(transform, normalise):
    """(ids, an empty batch) of two samples."""
    side = transform.image_size
    shape, kind = ((2, side, side, 3), np.uint8) if normalise is None else ((2, 3, side, side), np.float32)
    return np.zeros(2, np.int64), np.zeros(shape, kind)


def _write(form, transform, normalise):
    ids, images = _batch(transform, normalise)
    writer = SampleWriter(_Sample(form), transform, 0, normalise)
    writer.write(0, ids, images, np.zeros(2, np.int32), np.zeros(2, np.float32), np.zeros(8, np.int64))


def _resample(transform, normalise):
    apply = SampleWriter(_Sample("png"), transform, 0, normalise).apply
    raw = _Sample("raw").read(0)
    for image in (raw.copy(), raw) if transform.antialias else (raw.copy(),):
        apply._resample(image, 0.5, 0.5, 0.5, 0.5, (0, 39, 0, 49), apply.canvas)


def _jpeg(located):
    """Parts of JPEGs; located: of those too whose parts' places are known."""
    data = simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8), 90, colorsubsampling="420")
    cutter, decoder, frame, box = Cutter(), RegionDecoder(), read_frame(data), (0, 0, 8, 8)
    yield
    decoder.decode(data, frame, box)
    yield
    cutter.cut_box(data, frame, box)
    yield
    if located:
        notes = unpack_notes(pack_notes(data), frame)
        decoder.decode(data, frame, box, notes)
        cutter.cut_box(data, frame, box, notes)


def _operations():
    image, spare, room = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((4, BLOCK), np.float32)
    for operation in range(OPERATIONS):
        operate(image, operation, 1.0, spare, room, np.zeros((3, 256), np.int64), np.zeros((3, 256), np.uint8))
        yield


def main():
    """Compiles everything."""
    everything = (
        TrainTransform(jitter=(0.1, 0.1, 0.1, 0.1), policy="rand", erasing=0.5, cutout=4, antialias=True, mixup=0.2),
        TrainTransform(policy="trivial", crop="pad"),
        EvalTransform(antialias=True),
        TrainTransform(32, crop="pad"),
    )
    with compiling():
        for transform in everything:
            for normalise in (None, ((0, 0, 0), (1, 1, 1))):
                for kinds in (("png", "raw", "jpeg", "located jpeg"), ("records",)):
                    for _ in _parts(kinds, transform, normalise):
                        pass


if __name__ == "__main__":
    main()
