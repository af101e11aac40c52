"""A part of a JPEG as a JPEG of its own, with the very pixels that the whole one has there."""

import struct

import numpy as np

from cellwright.dataloader.decode.jpeg import EOI, SOF0, read_frame
from cellwright.kernels.image.bits import SLACK, stuff, unstuff
from cellwright.kernels.image.jpeg import cut, scan
from cellwright.kernels.image.jpeg_index import STEP, locate, stuffed_positions


class Cutter:
    """Cuts JPEGs, with buffers of its own that grow to the largest file seen."""

    def __init__(self):
        self._plain = self._bits = self._file = np.zeros(0, np.uint8)

    def _room(self, size):
        if self._plain.size < 2 * size + SLACK:
            self._plain, self._bits = (
                np.zeros(2 * size + SLACK, np.uint8),
                np.zeros(size + 4096 + SLACK, np.uint8),
            )
            self._file = np.zeros(2 * size + 16384, np.uint8)

    def notes(self, data, frame, step=STEP):
        """(starts (rows, n + 1) int64, DC values (rows, n + 1, components) int64) of a scan of the whole
        file, or None where it is damaged.

        `starts` counts bits of the unstuffed data, which stays in the buffer.
        """
        self._room(len(data))
        raw = np.frombuffer(data, np.uint8)
        size, stop = unstuff(raw, frame.data_start, raw.size, self._plain)
        if stop + 2 > raw.size or raw[stop + 1] != EOI:
            return None
        rows, columns = frame.units
        starts = np.empty((rows, -(-columns // step) + 1), np.int64)
        dcs = np.empty((*starts.shape, len(frame.components)), np.int64)
        end = scan(self._plain, 8 * size, frame.blocks, *frame.coder.tables, columns, rows, step, starts, dcs)
        return None if end < 0 else (starts, dcs)

    def kept_notes(self, data, frame):
        """(uint32, int16): what is to be kept with a file so that its parts are found without a scan, or None
        where it is damaged.
        """
        found = self.notes(data, frame)
        if found is None or len(data) >= 1 << 28:
            return None
        starts, dcs = found
        kept = np.empty(starts.shape, np.uint32)
        stuffed_positions(np.frombuffer(data, np.uint8), frame.data_start, starts.reshape(-1), kept.reshape(-1))
        return kept, dcs.astype(np.int16)

    def cut_box(self, data, frame, box, kept=None, shrink=1):
        """(file, top, left): a JPEG that holds the pixels of `box` (top, left, height, width) just as the
        whole file does.

        Pixel (0, 0) of the new picture is (top, left) of the old one. kept: what `kept_notes` gave for the
        file; without it the file is scanned. shrink: by how much the decoder will shrink it. None where the
        bits are damaged. The result is valid until the next call.
        """
        units = units_of_box(frame, box, shrink)
        first, end, left, right = units
        if kept is None:
            found = self.notes(data, frame, 1)
            if found is None:
                return None
            starts, dcs = found
            rows = slice(first, end)
            spans = starts[rows, left], starts[rows, right], dcs[rows, left], dcs[rows, right]
            spans = tuple(map(np.ascontiguousarray, spans))  # of one type, for which `cut` is compiled
        else:
            self._room(len(data))
            shape = end - first, len(frame.components)
            spans = (
                np.empty(shape[0], np.int64),
                np.empty(shape[0], np.int64),
                np.empty(shape, np.int64),
                np.empty(shape, np.int64),
            )
            raw = np.frombuffer(data, np.uint8)
            where = frame.data_start, raw.size, *kept, first, left, right, frame.units[1]
            if not locate(raw, *where, frame.blocks, *frame.coder.tables, self._plain, *spans):
                return None
        written = cut(self._plain, *spans, frame.blocks, *frame.coder.tables, frame.coder.encoder, self._bits)
        return None if written < 0 else self._wrap(frame, written, *units)

    def _wrap(self, frame, written, first, end, left, right):
        high, wide = frame.unit
        height, width = (
            min(end * high, frame.height) - first * high,
            min(right * wide, frame.width) - left * wide,
        )
        head = b"".join(
            (
                b"\xff\xd8",
                frame.head,
                write_sof(frame, height, width),
                frame.coder.segments,
                frame.scan_header,
            )
        )
        self._file[: len(head)] = np.frombuffer(head, np.uint8)
        size = stuff(self._bits, written, self._file, len(head))
        self._file[size] = 0xFF
        self._file[size + 1] = EOI
        return memoryview(self._file)[: size + 2], first * high, left * wide


def write_sof(frame, height, width):
    """The frame header for another size."""
    body = b"".join(bytes((c[0], c[1] << 4 | c[2], c[3])) for c in frame.components)
    return struct.pack(">BBHBHHB", 0xFF, SOF0, 8 + len(body), 8, height, width, len(frame.components)) + body


def units_of_box(frame, box, shrink=1):
    """(first row, end row, left, right) in MCUs that give the box's pixels exactly.

    Where chroma is stored smaller, the decoder interpolates it with the next sample, so that the pixel at an
    MCU's border wants the MCU beyond it; in a shrunk decode that pixel covers `shrink`.
    """
    high, wide = frame.unit
    rows, columns = frame.units
    top, left, height, width = box
    margin = 0 if (high, wide) == (8, 8) else shrink
    first, end = max(top - margin, 0) // high, min(-(-(top + height + margin) // high), rows)
    begin, stop = max(left - margin, 0) // wide, min(-(-(left + width + margin) // wide), columns)
    # The decoder repeats the chroma of pictures of up to 4 pixels a row instead of interpolating it.
    while margin and min(stop * wide, frame.width) - begin * wide <= 4 * shrink and stop - begin < columns:
        begin, stop = (begin - 1, stop) if begin else (begin, stop + 1)
    return first, end, begin, stop


def pack_notes(data):
    """The notes to keep with an image file as bytes, empty where it is none whose parts can be cut out."""
    frame = read_frame(data) if data[:2] == b"\xff\xd8" else None
    kept = None if frame is None else Cutter().kept_notes(data, frame)
    return b"" if kept is None else kept[0].tobytes() + kept[1].tobytes()


def unpack_notes(notes, frame):
    """What `pack_notes` wrote, as (uint32 (rows, n), int16 (rows, n, components))."""
    rows, columns = frame.units
    count = -(-columns // STEP) + 1
    split = 4 * rows * count
    return (
        np.frombuffer(notes[:split], np.uint32).reshape(rows, count),
        np.frombuffer(notes[split:], np.int16).reshape(rows, count, len(frame.components)),
    )
