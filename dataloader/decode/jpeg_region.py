"""A part of a JPEG decoded straight to pixels, the very ones that the whole one has there."""

from functools import lru_cache

import numpy as np

from cellwright.dataloader.decode.jpeg import EOI
from cellwright.dataloader.decode.jpeg_cut import units_of_box
from cellwright.kernels.image.bits import SLACK, unstuff
from cellwright.kernels.image.jpeg_decode import (
    CHUNK,
    PLACES,
    planes_to_pixels,
    read_located_planes,
    read_planes,
    repeat_border,
)
from cellwright.kernels.image.jpeg_index import locate
from cellwright.kernels.image.jpeg_vectors import LANES

_MARGIN = 64  # bytes beside each row of samples: chroma is read a sample beyond its border, 16 at a time
_SAMPLINGS = ((1, 1), (2, 1), (2, 2))


def can_decode(frame):
    """True for gray, 4:4:4, 4:2:2 and 4:2:0 in JFIF's colours: what this decoder has the very bits of."""
    if frame.quantisers is None or not frame.is_ycc:
        return False
    if len(frame.components) == 1:
        return True
    # Of pictures of up to 4 pixels a row libjpeg repeats the chroma instead of interpolating it.
    return frame.components[0][1:3] in _SAMPLINGS and (frame.components[0][1] == 1 or frame.width > 4)


class RegionDecoder:
    """Decodes parts of JPEGs, with buffers of its own that grow to the largest seen."""

    def __init__(self):
        self._plain = self._planes = self._pixels = np.zeros(0, np.uint8)
        self._coefficients = np.zeros(0, np.int16)
        self._lines = np.full((2, 64), 128, np.uint8)

    def decode(self, data, frame, box, notes=None):
        """(h, w, 3) uint8 RGB of `box` (top, left, height, width), valid until the next call, or None where the
        bits are damaged, beyond the box too. notes: what `unpack_notes` gave; then only the box is looked at.
        """
        units = units_of_box(frame, box)
        layout = self.layout(frame, units)
        self._grow(len(data), layout, box)
        raw = np.frombuffer(data, np.uint8)
        coder = frame.coder
        blocks = layout.blocks if coder.shared else layout.blocks_apart
        scan = blocks, coder.tables, coder.ac_values, PLACES, frame.quantisers, layout.first, layout.step
        out = self._coefficients[: CHUNK * len(layout.chunks)]
        to = out, self._planes, (layout.chunks, layout.starts, layout.strides)
        if notes is None:
            size, stop = unstuff(raw, frame.data_start, raw.size, self._plain)
            if stop + 2 > raw.size or raw[stop + 1] != EOI:
                return None
            good = read_planes(self._plain, 8 * size, (*frame.units, *units), scan, *to)
        else:
            good = self._read_located(raw, frame, units, notes, scan, to)
        if not good:
            out[:] = 0
            return None
        return self.to_pixels(frame, box, units, layout)

    @staticmethod
    def layout(frame, units):
        """Where the coefficients and samples of the MCUs `units` go: (first row, end row, left, right)."""
        return _layout(tuple(c[1:3] for c in frame.components), units[1] - units[0], units[3] - units[2])

    def _read_located(self, raw, frame, units, notes, scan, to):
        first, end, left, right = units
        shape = end - first, len(frame.components)
        spans = [np.empty(n, np.int64) for n in (shape[0], shape[0], shape, shape)]
        where = frame.data_start, raw.size, *notes, first, left, right, frame.units[1]
        if not locate(raw, *where, frame.blocks, *frame.coder.tables, self._plain, *spans):
            return False
        return read_located_planes(self._plain, 8 * raw.size, spans[0], spans[2], right - left, scan, *to)

    def _grow(self, size, layout, box):
        if self._plain.size < 2 * size + SLACK:
            self._plain = np.zeros(2 * size + SLACK, np.uint8)
        if self._planes.size < layout.size:
            self._planes = np.zeros(layout.size, np.uint8)
        if self._coefficients.size < CHUNK * len(layout.chunks):
            self._coefficients = np.zeros(CHUNK * len(layout.chunks), np.int16)
        if self._pixels.size < 3 * box[2] * box[3] + 3 * LANES:
            self._pixels = np.zeros(3 * box[2] * box[3] + 3 * LANES, np.uint8)
        if self._lines.shape[1] < box[3] + 4 * LANES:
            self._lines = np.full((2, box[3] + 4 * LANES), 128, np.uint8)

    def to_pixels(self, frame, box, units, layout):
        """The second half of `decode`: from the samples of all components to RGB pixels."""
        first, _, begin, _ = units
        top, left, height, width = box
        wide, tall = frame.components[0][1] == 2, frame.components[0][2] == 2
        gray = len(frame.components) == 1
        chroma_rows = 0
        if gray:
            self._lines[:] = 128
            wide = tall = False
        elif wide:
            rows, columns = -(-frame.height // (1 + tall)), -(-frame.width // 2)
            chroma_rows = min(rows - 8 * first, layout.rows)
            for c in (1, 2):
                repeat_border(self._planes, layout.starts[c], layout.strides[c], layout.rows,
                              min(columns - 8 * begin, layout.columns))  # fmt: skip
        where = top - first * frame.unit[0], left - begin * frame.unit[1], height, width
        planes_to_pixels(self._planes, layout.starts, layout.strides, *where, wide, tall, chroma_rows,
                         self._pixels, self._lines)  # fmt: skip
        return self._pixels[: 3 * height * width].reshape(height, width, 3)


class _Layout:
    """Where coefficients and samples of a rectangle of MCUs go."""

    def __init__(self, samplings, high, wide):
        blocks, first, step, chunks, starts, strides = [], [], [], [], [], []
        at, lane = _MARGIN, 0
        for component, (h, v) in enumerate(samplings):
            strides.append(8 * LANES * -(-wide * h // LANES) + _MARGIN)
            starts.append(at)
            at += 8 * v * high * strides[-1]
            for row in range(v):
                blocks += [(component, component)] * h
                first += [lane + column for column in range(h)]
                step += [h] * h
                chunks += [(component, h, v, row, part) for part in range(h)]
                lane += LANES * h
        self.blocks_apart, self.first, self.step = np.array(blocks), np.array(first), np.array(step)
        self.blocks = np.minimum(self.blocks_apart, (2, 1))  # both chroma components by one table
        self.chunks, self.starts, self.strides = np.array(chunks), np.array(starts), np.array(strides)
        self.size = at + 8 * LANES
        self.rows, self.columns = 8 * high, 8 * wide  # of chroma, which has a block an MCU


@lru_cache(maxsize=512)
def _layout(samplings, high, wide):
    return _Layout(samplings if len(samplings) > 1 else ((1, 1),), high, wide)
