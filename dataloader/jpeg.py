"""The frame round a baseline JPEG's bits: read apart, and put together anew for a part of the picture."""

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from kernels.bits import SLACK, stuff, unstuff
from kernels.huffman import ac_table, complete_dc, dc_encoder, dc_table, slow_table
from kernels.jpeg import cut, scan
from kernels.jpeg_index import STEP, locate, stuffed_positions

_SOF0, _SOF1, _DHT, _SOI, _EOI, _SOS, _DQT, _DRI, _APP0, _APP14 = 0xC0, 0xC1, 0xC4, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE
_KEPT = (_DQT, _APP0, _APP14)  # what the decoder's colours depend on; comments, EXIF and colour profiles do not travel


@dataclass(frozen=True)
class Coder:
    """The Huffman tables of a file by component, and the DHT segments to write with a part of it."""

    dc_look: np.ndarray
    dc_slow: np.ndarray
    ac_look: np.ndarray
    ac_slow: np.ndarray
    encoder: np.ndarray
    segments: bytes

    @property
    def tables(self):
        return self.dc_look, self.dc_slow, self.ac_look, self.ac_slow


@dataclass(frozen=True)
class Frame:
    """What the header of a baseline JPEG of one scan says."""

    height: int
    width: int
    components: tuple  # (identifier, horizontal, vertical, quantisation table) each
    head: bytes  # the segments that are kept
    scan_header: bytes
    coder: Coder
    data_start: int

    unit: tuple  # (height, width) in pixels of an MCU
    units: tuple  # (rows, columns) of MCUs
    blocks: np.ndarray  # int64, the component of each block of an MCU


@lru_cache(maxsize=64)
def _coder(bodies, selectors):
    """From the bodies of the DHT segments and the (DC, AC) selectors of the components; None where something is odd."""
    tables = {}
    for body in bodies:
        at = 0
        while at + 17 <= len(body):
            counts = list(body[at + 1 : at + 17])
            end = at + 17 + sum(counts)
            tables[body[at]] = counts, list(body[at + 17 : end])
            at = end
    try:
        dc = [tables[selector >> 4] for selector in selectors]
        ac = [tables[0x10 | selector & 15] for selector in selectors]
    except KeyError:
        return None
    full = [complete_dc(*table) for table in dc]
    if None in full or any(len(symbols) != sum(counts) or not symbols for counts, symbols in (*dc, *ac)):
        return None
    segments = b""
    written = {selector >> 4: table for selector, table in zip(selectors, full)}
    written.update({0x10 | selector & 15: table for selector, table in zip(selectors, ac)})
    for number, (counts, symbols) in written.items():
        segments += struct.pack(">BBHB", 0xFF, _DHT, 3 + 16 + len(symbols), number) + bytes(counts) + bytes(symbols)
    return Coder(
        np.stack([dc_table(*table) for table in full]), np.stack([slow_table(*table) for table in full]),
        np.stack([ac_table(*table) for table in ac]), np.stack([slow_table(*table) for table in ac]),
        np.stack([dc_encoder(*table) for table in full]), segments,
    )  # fmt: skip


def read_frame(data):
    """The `Frame` of a baseline JPEG whose parts can be cut out, or None: progressive, arithmetic, with restart markers, CMYK, several
    scans, unusual sampling, damaged.
    """
    at, head, huffman, frame = 2, [], [], None
    try:
        while True:
            if data[at] != 0xFF:
                return None
            marker = data[at + 1]
            if marker == 0xFF:
                at += 1
                continue
            size = data[at + 2] << 8 | data[at + 3]
            if marker in _KEPT:
                head.append(data[at : at + 2 + size])
            elif marker == _DHT:
                huffman.append(bytes(data[at + 4 : at + 2 + size]))
            elif marker == _DRI:
                if data[at + 4] or data[at + 5]:
                    return None
            elif marker in (_SOF0, _SOF1):
                if frame is not None:
                    return None
                frame = _read_sof(data[at + 4 : at + 2 + size])
                if frame is None:
                    return None
            elif marker == _SOS:
                break
            elif not (0xE0 <= marker <= 0xEF or marker == 0xFE):
                return None
            at += 2 + size
    except IndexError:
        return None
    scan_header = data[at : at + 2 + size]
    if frame is None or data[at + 4] != len(frame[2]):
        return None
    chosen = {scan_header[5 + 2 * k]: scan_header[6 + 2 * k] for k in range(len(frame[2]))}
    if [c[0] for c in frame[2]] != list(chosen):
        return None
    coder = _coder(tuple(huffman), tuple(chosen.values()))
    if coder is None:
        return None
    height, width, components = frame
    unit, blocks = _unit(components)
    units = -(-height // unit[0]), -(-width // unit[1])
    return Frame(height, width, components, b"".join(head), scan_header, coder, at + 2 + size, unit, units, blocks)


@lru_cache(maxsize=64)
def _unit(components):
    if len(components) == 1:
        return (8, 8), np.zeros(1, np.int64)
    blocks = np.concatenate([np.full(c[1] * c[2], k, np.int64) for k, c in enumerate(components)])
    return (8 * max(c[2] for c in components), 8 * max(c[1] for c in components)), blocks


def _read_sof(body):
    precision, height, width, count = struct.unpack_from(">BHHB", body)
    components = tuple((body[6 + 3 * k], body[7 + 3 * k] >> 4, body[7 + 3 * k] & 15, body[8 + 3 * k]) for k in range(count))
    if precision != 8 or not height or not width or count not in (1, 3):
        return None
    if count == 3:
        if any(c[1:3] != (1, 1) for c in components[1:]) or components[0][1] not in (1, 2, 4) or components[0][2] not in (1, 2, 4):
            return None
    return height, width, components


class Cutter:
    """Cuts JPEGs, with buffers of its own that grow to the largest file seen."""

    def __init__(self):
        self._plain = self._bits = self._file = np.zeros(0, np.uint8)

    def _room(self, size):
        if self._plain.size < 2 * size + SLACK:
            self._plain, self._bits = np.zeros(2 * size + SLACK, np.uint8), np.zeros(size + 4096 + SLACK, np.uint8)
            self._file = np.zeros(2 * size + 16384, np.uint8)

    def notes(self, data, frame, step=STEP):
        """(starts (rows, n + 1) int64, DC values (rows, n + 1, components) int64) of a scan of the whole file, or None where it is damaged.

        `starts` counts bits of the unstuffed data, which stays in the buffer.
        """
        self._room(len(data))
        raw = np.frombuffer(data, np.uint8)
        size, stop = unstuff(raw, frame.data_start, raw.size, self._plain)
        if stop + 2 > raw.size or raw[stop + 1] != _EOI:
            return None
        rows, columns = frame.units
        starts = np.empty((rows, -(-columns // step) + 1), np.int64)
        dcs = np.empty((*starts.shape, len(frame.components)), np.int64)
        end = scan(self._plain, 8 * size, frame.blocks, *frame.coder.tables, columns, rows, step, starts, dcs)
        return None if end < 0 else (starts, dcs)

    def kept_notes(self, data, frame):
        """(uint32, int16): what is to be kept with a file so that its parts are found without a scan, or None where it is damaged."""
        found = self.notes(data, frame)
        if found is None or len(data) >= 1 << 28:
            return None
        starts, dcs = found
        kept = np.empty(starts.shape, np.uint32)
        stuffed_positions(np.frombuffer(data, np.uint8), frame.data_start, starts.reshape(-1), kept.reshape(-1))
        return kept, dcs.astype(np.int16)

    def cut_box(self, data, frame, box, kept=None, shrink=1):
        """(file, top, left): a JPEG that holds the pixels of `box` (top, left, height, width) just as the whole file does.

        Pixel (0, 0) of the new picture is (top, left) of the old one. kept: what `kept_notes` gave for the file; without it the file is
        scanned. shrink: by how much the decoder will shrink it. None where the bits are damaged. The result is valid until the next call.
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
        else:
            self._room(len(data))
            shape = end - first, len(frame.components)
            spans = np.empty(shape[0], np.int64), np.empty(shape[0], np.int64), np.empty(shape, np.int64), np.empty(shape, np.int64)
            raw = np.frombuffer(data, np.uint8)
            if not locate(raw, frame.data_start, raw.size, *kept, first, left, right, frame.units[1], frame.blocks, *frame.coder.tables,
                          self._plain, *spans):  # fmt: skip
                return None
        written = cut(self._plain, *spans, frame.blocks, *frame.coder.tables, frame.coder.encoder, self._bits)
        return None if written < 0 else self._wrap(frame, written, *units)

    def _wrap(self, frame, written, first, end, left, right):
        high, wide = frame.unit
        height, width = min(end * high, frame.height) - first * high, min(right * wide, frame.width) - left * wide
        head = b"".join((b"\xff\xd8", frame.head, write_sof(frame, height, width), frame.coder.segments, frame.scan_header))
        self._file[: len(head)] = np.frombuffer(head, np.uint8)
        size = stuff(self._bits, written, self._file, len(head))
        self._file[size] = 0xFF
        self._file[size + 1] = _EOI
        return memoryview(self._file)[: size + 2], first * high, left * wide


def write_sof(frame, height, width):
    """The frame header for another size."""
    body = b"".join(bytes((c[0], c[1] << 4 | c[2], c[3])) for c in frame.components)
    return struct.pack(">BBHBHHB", 0xFF, _SOF0, 8 + len(body), 8, height, width, len(frame.components)) + body


def units_of_box(frame, box, shrink=1):
    """(first row, end row, left, right) in MCUs that give the box's pixels exactly.

    Where chroma is stored smaller, the decoder interpolates it with the next sample, so that the pixel at an MCU's border wants the MCU
    beyond it; in a shrunk decode that pixel covers `shrink`.
    """
    high, wide = frame.unit
    rows, columns = frame.units
    top, left, height, width = box
    margin = 0 if (high, wide) == (8, 8) else shrink
    return (max(top - margin, 0) // high, min(-(-(top + height + margin) // high), rows),
            max(left - margin, 0) // wide, min(-(-(left + width + margin) // wide), columns))


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
    return (np.frombuffer(notes[:split], np.uint32).reshape(rows, count),
            np.frombuffer(notes[split:], np.int16).reshape(rows, count, len(frame.components)))
