"""Decoding a rectangle of a baseline JPEG in one pass over its bits: what lies beside is read over, what lies inside
becomes pixels, the same as libjpeg-turbo's.
"""

import numba
import numpy as np

from cellwright.kernels.image.bits import load_be64
from cellwright.kernels.image.huffman import AC_BITS
from cellwright.kernels.image.jpeg import read_dc, read_over, refill, slow_code
from cellwright.kernels.image.jpeg_vectors import LANES, colours_16, inverse_transform, upsample_16

CHUNK = 65 * LANES
"""Coefficients of 16 blocks, by number and block; the 65th row takes what has no place."""
DC_LIMIT = 8191
"""Beyond it libjpeg-turbo's short cut for flat blocks wraps round: such a file is left to it."""
NATURAL = np.array([
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
])  # fmt: skip
"""The place by row and column of each coefficient in the order of the file."""
PLACES = (np.concatenate([NATURAL, np.full(256 - 64, 64)]) * LANES).astype(np.uint16)
"""Where each coefficient goes within a chunk, from its number; whatever is beyond 63 has no place."""


@numba.njit(cache=True, nogil=True, forceinline=True)
def _read_values(data, word, held, at, table, ac_values, ac_slow, places, out, to):
    """As `read_over`, and the coefficients go to `out` from `to` on."""
    k = 1
    while k < 64:
        word, held, at = refill(data, word, held, at)
        for _ in range(2):
            entry = np.int64(ac_values[table, word >> np.uint64(64 - AC_BITS)])
            if entry == 0:
                found = slow_code(word, table, ac_slow)
                length, size, run = found >> 8, found & 15, (found >> 4) & 15
                if found == 0 or size > 10 or (size == 0 and run != 0 and run != 15):
                    return word, held, at, np.int64(100)
                entry = (length + size) | length << 6 | size << 11 | (128 if found & 255 == 0 else run + 1) << 16
            bits, size = entry & 63, (entry >> 11) & 15
            k += entry >> 16
            # Without a branch, for half of all values are negative, at random. A size of 0 writes a 0 over a 0.
            rest = word << np.uint64((entry >> 6) & 31)
            value = np.int64((rest >> np.uint64(1)) >> np.uint64(63 - size))
            below = np.int64(rest >> np.uint64(63)) - 1
            out[np.uint64(to) + np.uint64(places[np.uint64(k - 1)])] = value + (below & (1 - (1 << size)))
            word <<= np.uint64(bits)
            held -= bits
            if k >= 64:
                break
    return word, held, at, k


@numba.njit(cache=True, nogil=True)
def read_units(data, end, state, count, inside, scan, out, last):
    """Reads `count` MCUs; returns the bit reader behind them, or held = -1 where they are damaged.

    scan: (component and table of each block of an MCU, tables, `value_table`s, `PLACES`, quantisers, lane of each block
    in the first MCU, and lanes from one MCU to the next). inside: coefficients go to `out`; else they are read over.
    last: DC values by component, carried on.
    """
    blocks, (dc_look, dc_slow, ac_look, ac_slow), ac_values, places, quantisers, first, step = scan
    word, held, at = state
    for unit in range(count):
        for block in range(blocks.shape[0]):
            c, table = blocks[block, 0], blocks[block, 1]
            word, held, at = refill(data, word, held, at)
            bits, difference = read_dc(word, table, dc_look, dc_slow)
            if bits == 0:
                return word, np.int64(-1), at
            last[c] += difference
            word <<= np.uint64(bits)
            held -= bits
            if inside:
                lane = first[block] + unit * step[block]
                to = (lane // LANES) * CHUNK + lane % LANES
                if abs(last[c] * quantisers[c, 0]) > DC_LIMIT:
                    return word, np.int64(-1), at
                out[to] = last[c]
                word, held, at, k = _read_values(data, word, held, at, table, ac_values, ac_slow, places, out, to)
            else:
                word, held, at, k = read_over(data, word, held, at, table, ac_look, ac_slow)
            if (k > 64 and k < 128) or 8 * at - held > end:
                return word, np.int64(-1), at
    return word, held, at


@numba.njit(cache=True, nogil=True)
def _decode_units(data, end, state, count, row, scan, out, planes, where, last):
    """Decodes `count` MCUs of row `row` of the rectangle to samples, 16 at a time, so that their coefficients stay in
    the nearest cache; returns the bit reader behind them, as `read_units` does.
    """
    chunks, starts, strides = where
    for group in range(0, count, LANES):
        units = min(LANES, count - group)
        state = read_units(data, end, state, units, True, scan, out, last)
        if state[1] < 0:
            return state
        for k in range(chunks.shape[0]):
            c, wide, tall, line, part = chunks[k]
            if part * LANES < units * wide:
                to = starts[c] + 8 * (row * tall + line) * strides[c] + 8 * (group * wide + part * LANES)
                inverse_transform(out, k * CHUNK, scan[4][c], planes, to, strides[c])
        out[:] = 0
    return state


@numba.njit(cache=True, nogil=True)
def read_planes(data, end, units, scan, out, planes, where):
    """Decodes MCUs to samples; returns False where the data is damaged or beyond what is known to be exact.

    data: entropy-coded bytes without stuffing, of `end` bits. units: (rows, columns of MCUs, first row, end row, left,
    right) of the rectangle. scan: what `read_units` wants to know of the file. out: int16 zeros, `CHUNK` for each of
    the chunks. planes: uint8 samples of all components. where: (chunks, starts, strides): for each 16 blocks of 16 MCUs
    (component, blocks a row and a column of an MCU, which of its rows, which 16 of the row); where in `planes` each
    component begins; bytes between its rows.
    """
    rows, columns, first_row, end_row, left, right = units
    last = np.zeros(scan[4].shape[0], np.int64)
    state = np.uint64(0), np.int64(0), np.int64(0)
    for row in range(rows):
        if not first_row <= row < end_row:
            state = read_units(data, end, state, columns, False, scan, out, last)
        else:
            state = read_units(data, end, state, left, False, scan, out, last)
            if state[1] >= 0:
                state = _decode_units(data, end, state, right - left, row - first_row, scan, out, planes, where, last)
            if state[1] >= 0:
                state = read_units(data, end, state, columns - right, False, scan, out, last)
        if state[1] < 0:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def read_located_planes(data, end, begins, before, count, scan, out, planes, where):
    """As `read_planes`, where it is known at which bit each row of the rectangle begins, `begins` (n,), and what the
    DC values are there, `before` (n, components); `count` MCUs a row.
    """
    last = np.zeros(before.shape[1], np.int64)
    for row in range(begins.size):
        byte, used = begins[row] >> 3, begins[row] & 7
        state = load_be64(data, byte) << np.uint64(used), 56 - used, byte + 7
        for c in range(last.size):  # not `last[:] = before[row]`, whose complaint takes 1.7 s to compile
            last[c] = before[row, c]
        state = _decode_units(data, end, state, count, row, scan, out, planes, where, last)
        if state[1] < 0:
            return False
    return True


@numba.njit(cache=True, nogil=True)
def repeat_border(planes, start, stride, rows, columns):
    """Repeats the first and the last of `columns` samples of each of `rows` rows once beyond the border."""
    for row in range(rows):
        at = start + row * stride
        planes[at - 1] = planes[at]
        planes[at + columns] = planes[at + columns - 1]


@numba.njit(cache=True, nogil=True)
def planes_to_pixels(planes, starts, strides, top, left, height, width, wide, tall, chroma_rows, pixels, lines):
    """Writes RGB pixels (height, width, 3) from row `top` and column `left` of the luma plane on.

    starts: where each component's first sample lies in `planes`. wide, tall: whether chroma has half the samples of a
    row and of a column. chroma_rows: how many rows of chroma there are. pixels: flat, with room for 48 bytes more.
    lines: uint8 (2, n) for a row of chroma; 128 throughout for a gray picture.
    """
    gray = starts.size == 1
    for row in range(top, top + height):
        y = starts[0] + row * strides[0] + left
        to = (row - top) * width * 3
        if not (gray or wide):
            blue = planes[starts[1] + row * strides[1] + left :]
            red = planes[starts[2] + row * strides[2] + left :]
            for k in range(0, width, LANES):
                colours_16(planes, y + k, blue, red, k, pixels, to + 3 * k)
            continue
        near, far = row, row
        if tall:
            near = row >> 1
            far = min(max(near + 1 if row & 1 else near - 1, 0), chroma_rows - 1)
        begin = left >> 1
        for c in range(1, starts.size):
            near_at, far_at = starts[c] + near * strides[c], starts[c] + far * strides[c]
            for k in range(begin, ((left + width - 1) >> 1) + 1, LANES):
                upsample_16(planes, near_at + k, planes, far_at + k, 1 if tall else 0, lines[c - 1], 2 * (k - begin))
        for k in range(0, width, LANES):
            colours_16(planes, y + k, lines[0], lines[1], k + (left & 1), pixels, to + 3 * k)
