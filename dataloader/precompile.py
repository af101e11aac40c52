"""Compiles every kernel that a worker calls, for the types with which it calls them, before the first fork."""

import cv2
import numpy as np
import simplejpeg

from cellwright.dataloader.decode.jpeg import read_frame
from cellwright.dataloader.decode.jpeg_cut import Cutter
from cellwright.dataloader.decode.jpeg_region import RegionDecoder
from cellwright.dataloader.sample_writer import SampleWriter
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


def precompile():
    """Runs each way through the writer once; some 0.1 s from the cache on disk, some 30 s on the first use
    of a machine.
    """
    permutation(4, 0, 0)
    _precompile_jpeg()
    _precompile_operations()
    ids = np.zeros(1, np.int64)
    labels, weights, row = np.zeros(1, np.int32), np.zeros(1, np.float32), np.zeros(8, np.int64)
    normalise = (0, 0, 0), (1, 1, 1)
    for form in ("records", "png", "raw"):
        for transform in (
            TrainTransform(32),
            TrainTransform(32, crop="pad"),
            TrainTransform(40, crop="pad", jitter=(0.1, 0.1, 0.1, 0.1), cutout=4),
            TrainTransform(16, crop="none", antialias=True, policy="trivial"),
            TrainTransform(16, crop="none", policy="rand", erasing=0.5),
            EvalTransform(32, "direct"),
            EvalTransform(16),
        ):
            side = transform.image_size
            SampleWriter(_Sample(form), transform, 0).write(
                0, ids, np.zeros((1, side, side, 3), np.uint8), labels, weights, row
            )
            chw = np.zeros((1, 3, side, side), np.float32)
            SampleWriter(_Sample(form), transform, 0, normalise).write(0, ids, chw, labels, weights, row)


def _precompile_jpeg():
    data = simplejpeg.encode_jpeg(np.zeros((64, 64, 3), np.uint8), 90)
    cutter, decoder, frame = Cutter(), RegionDecoder(), read_frame(data)
    decoder.decode(data, frame, (0, 0, 8, 8))
    decoder.decode(data, frame, (0, 0, 8, 8), cutter.kept_notes(data, frame))
    cutter.cut_box(data, frame, (0, 0, 8, 8))
    cutter.cut_box(data, frame, (0, 0, 8, 8), cutter.kept_notes(data, frame))


def _precompile_operations():
    image, spare, room = np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8), np.zeros((4, BLOCK), np.float32)
    for operation in range(OPERATIONS):
        operate(image, operation, 1.0, spare, room, np.zeros((3, 256), np.int64), np.zeros((3, 256), np.uint8))
