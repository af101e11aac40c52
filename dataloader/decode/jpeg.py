"""The frame round a baseline JPEG's bits: what the header says, and the Huffman tables."""

import struct
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cellwright.kernels.image.huffman import (
    ac_table,
    complete_dc,
    dc_encoder,
    dc_table,
    is_table,
    slow_table,
    value_table,
)
from cellwright.kernels.image.jpeg_decode import NATURAL

SOF0, _SOF1, EOI = 0xC0, 0xC1, 0xD9
_DHT, _SOS, _DQT, _DRI, _COM = 0xC4, 0xDA, 0xDB, 0xDD, 0xFE
_APP0, _APP14, _APP15 = 0xE0, 0xEE, 0xEF
# What the decoder's colours depend on; comments, EXIF and colour profiles do not travel.
_KEPT = (_DQT, _APP0, _APP14)


@dataclass(frozen=True)
class Coder:
    """The Huffman tables of a file by component, and the DHT segments to write with a part of it."""

    dc_look: np.ndarray
    dc_slow: np.ndarray
    ac_look: np.ndarray
    ac_slow: np.ndarray
    encoder: np.ndarray
    ac_values: np.ndarray
    segments: bytes
    shared: bool  # the second and the third component have the same tables

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
    quantisers: np.ndarray  # int16 (components, 64) by row and column, or None where they are of 16 bits
    is_ycc: bool  # one component, or three that the decoder takes for JFIF's colours


@lru_cache(maxsize=64)
def _coder(bodies, selectors):
    """From the bodies of the DHT segments and the (DC, AC) selectors of the components; None where something
    is odd.
    """
    tables = {}
    for body in bodies:
        at = 0
        while at + 17 <= len(body):
            counts = list(body[at + 1 : at + 17])
            end = at + 17 + sum(counts)
            if body[at] & 0xEC:  # decoders refuse the file
                return None
            tables[body[at]] = counts, list(body[at + 17 : end])
            at = end
        if at != len(body):
            return None
    try:
        dc = [tables[selector >> 4] for selector in selectors]
        ac = [tables[0x10 | selector & 15] for selector in selectors]
    except KeyError:
        return None
    if not all(is_table(*table) for table in (*dc, *ac)) or any(max(symbols) > 15 for _, symbols in dc):
        return None
    full = [complete_dc(*table) for table in dc]
    if None in full:
        return None
    segments = b""
    written = {selector >> 4: table for selector, table in zip(selectors, full)}
    written.update({0x10 | selector & 15: table for selector, table in zip(selectors, ac)})
    for number, (counts, symbols) in written.items():
        segments += struct.pack(">BBHB", 0xFF, _DHT, 3 + 16 + len(symbols), number) + bytes(counts) + bytes(symbols)
    return Coder(
        # Read by the file's own tables, for a code that they lack is damage; only what is written needs the rest.
        np.stack([dc_table(*table) for table in dc]), np.stack([slow_table(*table) for table in dc]),
        np.stack([ac_table(*table) for table in ac]), np.stack([slow_table(*table) for table in ac]),
        np.stack([dc_encoder(*table) for table in full]), np.stack([value_table(*table) for table in ac]), segments,
        len(set(selectors[1:])) == 1,
    )  # fmt: skip


def read_frame(data):
    """The `Frame` of a baseline JPEG whose parts can be cut out, or None: progressive, arithmetic, with
    restart markers, CMYK, several scans, unusual sampling, damaged.
    """
    try:
        return _read_frame(data)
    except (IndexError, struct.error):  # a segment that ends before what it should hold
        return None


def _read_frame(data):
    head, huffman, sof, at = _read_segments(data)
    if sof is None:
        return None
    height, width, components = sof
    scan_header = data[at : at + 4 + 2 * len(components) + 4]
    end = at + 2 + (data[at + 2] << 8 | data[at + 3])
    chosen = {scan_header[5 + 2 * k]: scan_header[6 + 2 * k] for k in range(len(components))}
    whole_spectrum = bytes(scan_header[5 + 2 * len(components) :]) == b"\0\x3f\0"
    if scan_header[4] != len(components) or [c[0] for c in components] != list(chosen) or not whole_spectrum:
        return None
    coder = _coder(tuple(huffman), tuple(chosen.values()))
    if coder is None or end != at + len(scan_header):
        return None
    unit, blocks = _unit(components)
    units = -(-height // unit[0]), -(-width // unit[1])
    kept = b"".join(head)
    quantisers, jfif, adobe = _read_kept(kept)
    tables = [quantisers.get(c[3]) for c in components]
    is_ycc = (
        len(components) == 1 or jfif or (adobe == 1 if adobe is not None else [c[0] for c in components] == [1, 2, 3])
    )
    return Frame(
        height, width, components, kept, scan_header, coder, end, unit, units, blocks,
        None if any(table is None for table in tables) else np.stack(tables), is_ycc,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _read_kept(segments):
    """({number: int16 (64,)} of the quantisation tables of 8 bits, whether there is a JFIF segment, Adobe's transform
    or None) of the kept segments; no tables where one of the segments is odd.
    """
    tables, jfif, adobe, at = {}, False, None, 0
    while at < len(segments):
        marker, size = segments[at + 1], segments[at + 2] << 8 | segments[at + 3]
        body = segments[at + 4 : at + 2 + size]
        if marker == _APP0 and len(body) >= 12 and body[:5] == b"JFIF\0":
            jfif = True
            if body[5] != 1:
                return {}, jfif, adobe
        elif marker == _APP14 and len(body) >= 12 and body[:5] == b"Adobe":
            adobe = body[11]
        elif marker == _DQT:
            if len(body) % 65 or any(body[k] > 3 for k in range(0, len(body), 65)):
                return {}, jfif, adobe
            for k in range(0, len(body), 65):
                table = np.zeros(64, np.int16)
                table[NATURAL] = np.frombuffer(body, np.uint8, 64, k + 1)
                tables[body[k]] = table
        at += 2 + size
    return tables, jfif, adobe


def _read_segments(data):
    """(kept segments, bodies of the Huffman segments, what `_read_sof` gave, position of the scan's header) of what
    is ahead of the first scan; the third is None where parts cannot be cut out.
    """
    at, head, huffman, sof = 2, [], [], None
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        size = data[at + 2] << 8 | data[at + 3]
        if marker in _KEPT:
            head.append(data[at : at + 2 + size])
        elif marker == _DHT:
            huffman.append(bytes(data[at + 4 : at + 2 + size]))
        elif marker in (SOF0, _SOF1) and sof is None:
            sof = _read_sof(data[at + 4 : at + 2 + size])
            if sof is None:
                break
        elif marker == _SOS:
            return head, huffman, sof, at
        elif marker == _DRI and not (data[at + 4] or data[at + 5]):
            pass
        elif not (_APP0 <= marker <= _APP15 or marker == _COM):
            break
        at += 2 + size
    return head, huffman, None, at


@lru_cache(maxsize=64)
def _unit(components):
    if len(components) == 1:
        return (8, 8), np.zeros(1, np.int64)
    blocks = np.concatenate([np.full(c[1] * c[2], k, np.int64) for k, c in enumerate(components)])
    return (8 * max(c[2] for c in components), 8 * max(c[1] for c in components)), blocks


def _read_sof(body):
    precision, height, width, count = struct.unpack_from(">BHHB", body)
    components = tuple(
        (body[6 + 3 * k], body[7 + 3 * k] >> 4, body[7 + 3 * k] & 15, body[8 + 3 * k]) for k in range(count)
    )
    if precision != 8 or not height or not width or count not in (1, 3) or len(body) != 6 + 3 * count:
        return None
    if count == 3:
        if (
            any(c[1:3] != (1, 1) for c in components[1:])
            or components[0][1] not in (1, 2, 4)
            or components[0][2] not in (1, 2, 4)
        ):
            return None
    return height, width, components
