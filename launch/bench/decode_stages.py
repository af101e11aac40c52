"""What a JPEG costs on its way to a training picture, stage by stage on one core, and what it costs at least.

Every stage is the loader's own function on the same pictures and crops. What it costs at least: an entropy-coded symbol
is a look-up and a shift that wait for the one before, everything else moves bytes; both are measured here, by `chain`
and by a copy.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numba
import numpy as np

from cellwright.dataloader import ImageFolder, TrainTransform
from cellwright.dataloader.decode.jpeg import read_frame
from cellwright.dataloader.decode.jpeg_cut import units_of_box
from cellwright.dataloader.decode.jpeg_region import RegionDecoder, can_decode
from cellwright.dataloader.decode.picture import open_picture
from cellwright.kernels.image.bits import SLACK, unstuff
from cellwright.kernels.image.crop import random_resized_box
from cellwright.kernels.image.huffman import AC_BITS
from cellwright.kernels.image.jpeg_decode import CHUNK, PLACES, read_planes, read_units
from cellwright.kernels.image.jpeg_vectors import LANES
from cellwright.kernels.image.layout import normalise_chw, scale_and_shift
from cellwright.launch.bench.pictures.corpus import write_pictures
from cellwright.launch.bench.pictures.photographs import check_photographs, photographs
from cellwright.launch.settings.flag_parser import setting

SIDE = 224


@dataclass(frozen=True)
class Settings:
    """What is measured, and how often."""

    pictures: int = setting(64, "files")
    kilobytes: int = setting(95, "size of a synthetic picture's file")
    rounds: int = setting(7, "turns of each stage, the best of which counts")
    photographs: bool = setting(False, "cut the pictures from photographs, and do not draw them")

    def __post_init__(self):
        if self.photographs:
            check_photographs()
        for name in ("pictures", "kilobytes", "rounds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name} {getattr(self, name)}: must be more than 0")


@numba.njit(cache=True, nogil=True)
def read_values(data, end, units, scan, out, counting):
    """Reads what `read_planes` reads, without the inverse transform. Returns (symbols inside, symbols beside), of a
    DC value, the values that are not zero and an end a block, where `counting`; beside are then read as values too.
    """
    rows, columns, first_row, end_row, left, right = units
    last = np.zeros(scan[4].shape[0], np.int64)
    state = np.uint64(0), np.int64(0), np.int64(0)
    found = np.zeros(2, np.int64)
    for row in range(rows):
        at = 0
        while at < columns:
            here = first_row <= row < end_row and left <= at < right
            stop = (right if here else (left if first_row <= row < end_row and at < left else columns)) - at
            count = min(LANES, stop) if here or counting else stop
            state = read_units(data, end, state, count, here or counting, scan, out, last)
            if counting:
                found[0 if here else 1] += np.count_nonzero(out) + count * scan[0].shape[0]
            if here or counting:
                out[:] = 0
            at += count
    return found


@numba.njit(cache=True, nogil=True)
def chain(table, steps):
    """Look-ups of which each waits for the one before, as the symbols of entropy-coded bits do."""
    word = np.uint64(0x9E3779B97F4A7C15)
    for _ in range(steps):
        bits = np.uint64(table[word >> np.uint64(64 - AC_BITS)])
        word = (word << bits) | (word >> (np.uint64(64) - bits))
    return word


class Crop:
    """One picture, one crop of it, and the arguments of each stage."""

    def __init__(self, source, sample):
        transform, self.path = TrainTransform(SIDE), source.path(sample)
        self.data = source.read(sample)
        picture, self.frame = open_picture(self.data), read_frame(self.data)
        size = picture.height, picture.width
        self.box = random_resized_box(*size, 1, 0, sample, *transform.crop_scale, *transform.crop_ratio)
        self.raw, self.plain = np.frombuffer(self.data, np.uint8), np.zeros(2 * len(self.data) + SLACK, np.uint8)
        self.size, _ = unstuff(self.raw, self.frame.data_start, self.raw.size, self.plain)
        self.decoder = decoder = RegionDecoder()
        self.pixels = decoder.decode(self.data, self.frame, self.box).copy()
        self.units = units_of_box(self.frame, self.box)
        self.layout = layout = decoder.layout(self.frame, self.units)
        blocks = layout.blocks if self.frame.coder.shared else layout.blocks_apart
        coder = self.frame.coder
        self.scan = blocks, coder.tables, coder.ac_values, PLACES, self.frame.quantisers, layout.first, layout.step
        self.out = np.zeros(CHUNK * len(layout.chunks), np.int16)
        self.to = self.out, np.zeros(layout.size, np.uint8), (layout.chunks, layout.starts, layout.strides)
        self.where = self.plain, 8 * self.size, (*self.frame.units, *self.units), self.scan
        self.nothing = self.plain, 8 * self.size, (*self.frame.units, 0, 0, 0, 0), self.scan
        self.inside, self.beside = read_values(*self.where, self.out, True).tolist()
        self.blocks = (self.units[1] - self.units[0]) * (self.units[3] - self.units[2]) * len(blocks)
        self.resized, self.row = np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros(SIDE, np.float32)
        self.floats, self.norm = np.zeros((3, SIDE, SIDE), np.float32), scale_and_shift((120,) * 3, (60,) * 3)
        self.bytes = np.zeros((SIDE, SIDE, 3), np.uint8)


def _read(crop):
    with open(crop.path, "rb", buffering=0) as file:
        file.read()


STAGES = {
    "read the file": _read,
    "take out the stuffed bytes": lambda c: unstuff(c.raw, c.frame.data_start, c.raw.size, c.plain),
    "all MCUs read over": lambda c: read_planes(*c.nothing, *c.to),
    "the crop's coefficients, the rest read over": lambda c: read_values(*c.where, c.out, False),
    "and the inverse transform": lambda c: read_planes(*c.where, *c.to),
    "chroma and colours": lambda c: c.decoder.to_pixels(c.frame, c.box, c.units, c.layout),
    "resize": lambda c: cv2.resize(c.pixels, (SIDE, SIDE), dst=c.resized, interpolation=cv2.INTER_LINEAR),
    "store as float32, mirrored": lambda c: normalise_chw(c.resized, *c.norm, True, c.row, c.floats),
    "store as uint8, mirrored": lambda c: cv2.flip(c.resized, 1, dst=c.bytes),
}


def microseconds(crops, rounds):
    """Returns {stage: the best round's microseconds a picture}."""
    best = dict.fromkeys(STAGES, float("inf"))
    for _ in range(rounds):
        for name, stage in STAGES.items():
            began = time.perf_counter()
            for crop in crops:
                stage(crop)
            best[name] = min(best[name], 1e6 * (time.perf_counter() - began) / len(crops))
    return best


def primitives():
    """Returns (nanoseconds of a look-up that waits for the one before, nanoseconds a byte of a copy in the cache)."""
    table = np.random.default_rng(0).integers(3, 9, 1 << AC_BITS).astype(np.uint8)
    steps, many = 1_000_000, np.zeros(1 << 18, np.uint8)
    other, found = many.copy(), [float("inf")] * 2
    for _ in range(9):
        began = time.perf_counter()
        chain(table, steps)
        middle = time.perf_counter()
        for _ in range(50):
            np.copyto(other, many)
        found = [
            min(found[0], (middle - began) / steps),
            min(found[1], (time.perf_counter() - middle) / 50 / many.size),
        ]
    return 1e9 * found[0], 1e9 * found[1]


def least(crops, look_up, copy):
    """Returns {part: microseconds a picture that it costs at least}. look_up, copy: see `primitives`.

    Beside the crop a look-up may take as many symbols as its AC_BITS hold; inside, each value is one.
    """
    mean = lambda value: float(np.mean([value(crop) for crop in crops])) / 1000  # noqa: E731
    beside = mean(lambda c: 8 * c.size * c.beside / (c.beside + c.inside) / AC_BITS) * look_up
    return {
        "read the file": mean(lambda c: len(c.data)) * copy,
        "take out the stuffed bytes": mean(lambda c: c.size) * copy,
        "read over the MCUs beside the crop": beside,
        "read the coefficients inside": mean(lambda c: c.inside) * look_up,
        "inverse transform": mean(lambda c: 128 * c.blocks) * copy,
        "chroma and colours": mean(lambda c: c.pixels.nbytes) * copy,
        "resize": mean(lambda c: c.pixels.nbytes) * copy,
        "store as float32, mirrored": mean(lambda c: c.floats.nbytes) * copy,
        "store as uint8, mirrored": mean(lambda c: c.bytes.nbytes) * copy,
    }


def parts(taken, crops):
    """Returns {part: microseconds a picture} of what `microseconds` found: what lies between two stages is a part."""
    names = ("all MCUs read over", "the crop's coefficients, the rest read over", "and the inverse transform")
    over, values, planes = (taken[name] for name in names)
    beside = over * float(np.mean([c.beside / (c.beside + c.inside) for c in crops]))
    found = {
        "read over the MCUs beside the crop": beside,
        "read the coefficients inside": values - beside,
        "inverse transform": planes - values,
    }
    order = list(taken)
    return {name: taken[name] for name in order[:2]} | found | {name: taken[name] for name in order[5:]}


def measure(settings):
    """Measures every stage, and what it costs at least."""
    bases = photographs() if settings.photographs else None
    with tempfile.TemporaryDirectory(prefix="bench-stages-") as name:
        write_pictures(Path(name), settings.pictures, settings.kilobytes, bases)
        source = ImageFolder(name)
        crops = [Crop(source, k) for k in range(len(source)) if can_decode(read_frame(source.read(k)))]
        taken = parts(microseconds(crops, settings.rounds), crops)
    look_up, copy = primitives()
    floor = least(crops, look_up, copy)
    results = [
        {"name": "a look-up that waits for the one before", "value": look_up, "unit": "ns"},
        {"name": "a copy in the cache", "value": 1 / copy, "unit": "GB/s"},
        {"name": "bytes a picture", "value": float(np.mean([len(c.data) for c in crops])), "unit": "B"},
        {"name": "symbols in the crop", "value": float(np.mean([c.inside for c in crops])), "unit": ""},
        {"name": "symbols beside it", "value": float(np.mean([c.beside for c in crops])), "unit": ""},
    ]
    for name, value in taken.items():
        results.append({"name": name, "value": value, "unit": "us a picture"})
        results.append({"name": f"{name}, at least", "value": floor[name], "unit": "us a picture"})
    return {
        "results": results,
        "ratios": {f"{name} over what it costs at least": taken[name] / floor[name] for name in taken},
    }
