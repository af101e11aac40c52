"""Finding and cutting the parts of a baseline JPEG without decoding it.

`scan` reads over the entropy-coded bits and notes where every few MCUs (minimum coded units) begin and what
the DC values are there; `cut` puts the bits of a rectangle of MCUs together as the bits of a smaller picture.
`locate` finds the rectangle's bits from kept notes, without reading the rest. Coefficients are never changed.
"""

import numba
import numpy as np

from cellwright.kernels.image.bits import copy_bits, load_be64, put_bits
from cellwright.kernels.image.huffman import AC_BITS, DC_BITS


@numba.njit(cache=True, nogil=True)
def slow_code(word, c, table):
    """length * 256 + symbol of the code at the top of `word`, for codes beyond the first level; 0 where there
    is no such code.
    """
    for bits in range(1, 17):
        code = np.int64(word >> np.uint64(64 - bits))
        if code < table[c, 0, bits]:
            return bits * 256 + table[c, 1, 18 + code + table[c, 1, bits]]
    return 0


@numba.njit(cache=True, nogil=True)
def read_dc(word, c, look, slow):
    """(bits, difference) of the DC symbol at the top of `word`; bits is 0 where there is none."""
    entry = look[c, word >> np.uint64(64 - DC_BITS)]
    if entry == 0:
        entry = slow_code(word, c, slow)
    length, category = entry >> 8, entry & 255
    if entry == 0 or category > 11:
        return 0, 0
    if category == 0:
        return length, 0
    value = np.int64((word << np.uint64(length)) >> np.uint64(64 - category))
    if value < 1 << (category - 1):
        value += 1 - (1 << category)
    return length + category, value


@numba.njit(cache=True, nogil=True)
def _skip_ac(data, position, c, look, slow):
    """Bit position behind the 63 AC coefficients that begin at `position`; -1 where they are damaged."""
    word = load_be64(data, position >> 3) << np.uint64(position & 7)
    base = position
    k = 1
    while k < 64:
        if position - base > 30:
            word = load_be64(data, position >> 3) << np.uint64(position & 7)
            base = position
        entry = np.int64(look[c, word >> np.uint64(64 - AC_BITS)])
        if entry == 0:
            found = slow_code(word, c, slow)
            size, run = found & 15, (found >> 4) & 15
            if found == 0 or size > 10 or (size == 0 and run != 0 and run != 15):
                return -1
            bits = (found >> 8) + size
            k += 128 if found & 255 == 0 else run + 1
        elif k + (entry >> 26) < 64:
            bits = (entry >> 13) & 31
            k += (entry >> 18) & 255
        else:
            bits = entry & 31
            k += (entry >> 5) & 255
        word <<= np.uint64(bits)
        position += bits
    return position if k == 64 or k >= 128 else -1


@numba.njit(cache=True, nogil=True, forceinline=True)
def refill(data, word, held, at):
    """The bit reader with at least 56 bits: `word` has the next `held` bits at its top, `at` is the byte to load."""
    return word | (load_be64(data, at) >> np.uint64(held)), held | 56, at + ((63 - held) >> 3)


@numba.njit(cache=True, nogil=True, forceinline=True)
def read_over(data, word, held, at, table, ac_look, ac_slow):
    """The bit reader behind the AC coefficients of a block, and the number of the coefficient reached."""
    k = 1
    while k < 64:
        word, held, at = refill(data, word, held, at)
        for _ in range(2):
            entry = np.int64(ac_look[table, word >> np.uint64(64 - AC_BITS)])
            if entry != 0 and k + (entry >> 26) < 64:
                bits = (entry >> 13) & 31
                k += (entry >> 18) & 255
            elif entry != 0:
                bits = entry & 31
                k += (entry >> 5) & 255
            else:
                found = slow_code(word, table, ac_slow)
                size, run = found & 15, (found >> 4) & 15
                if found == 0 or size > 10 or (size == 0 and run != 0 and run != 15):
                    return word, held, at, np.int64(100)
                bits = (found >> 8) + size
                k += 128 if found & 255 == 0 else run + 1
            word <<= np.uint64(bits)
            held -= bits
            if k >= 64:
                break
    return word, held, at, k


@numba.njit(cache=True, nogil=True)
def scan(data, end, blocks, dc_look, dc_slow, ac_look, ac_slow, columns, rows, step, starts, dcs):
    """Notes where the MCUs begin; returns the bit position behind the last one read, or -1 where the data is
    damaged.

    data: entropy-coded bytes without stuffing, of `end` bits. blocks: the component of each block of an MCU;
    the tables are indexed by component. columns: MCUs a row. rows: how many rows to read. Every `step` MCUs
    of a row, and at its end, `starts` (rows, n + 1) int64 gets the bit position and `dcs` (rows, n + 1,
    components) int64 the DC values of the blocks before.
    """
    last = np.zeros(dcs.shape[2], np.int64)
    # `word` holds the next `held` bits at its top. It is filled up from `at` once for two symbols' worth: the
    # load's address is known long before, so that the chain from one symbol to the next is shift, look up,
    # shift (a third faster than loading anew by position).
    word, held, at = np.uint64(0), np.int64(0), np.int64(0)
    for row in range(rows):
        for column in range(columns):
            if column % step == 0:
                starts[row, column // step] = 8 * at - held
                for c in range(last.size):  # not `dcs[...] = last`, whose complaint takes 1.7 s to compile
                    dcs[row, column // step, c] = last[c]
            for block in range(blocks.size):
                c = blocks[block]
                word, held, at = refill(data, word, held, at)
                bits, difference = read_dc(word, c, dc_look, dc_slow)
                if bits == 0:
                    return np.int64(-1)
                last[c] += difference
                word <<= np.uint64(bits)
                held -= bits
                word, held, at, k = read_over(data, word, held, at, c, ac_look, ac_slow)
                if (k > 64 and k < 128) or 8 * at - held > end:
                    return np.int64(-1)
        starts[row, starts.shape[1] - 1] = 8 * at - held
        for c in range(last.size):
            dcs[row, starts.shape[1] - 1, c] = last[c]
    return 8 * at - held


@numba.njit(cache=True, nogil=True)
def category(value):
    """How many bits a DC difference takes."""
    size, value = 0, abs(value)
    while value:
        size += 1
        value >>= 1
    return size


@numba.njit(cache=True, nogil=True)
def skip_units(data, position, count, blocks, dc_look, dc_slow, ac_look, ac_slow, last):
    """Bit position behind the `count` MCUs that begin at `position`, with the DC values in `last` carried on;
    -1 where damaged.
    """
    for _ in range(count):
        for block in range(blocks.size):
            c = blocks[block]
            word = load_be64(data, position >> 3) << np.uint64(position & 7)
            bits, difference = read_dc(word, c, dc_look, dc_slow)
            if bits == 0:
                return np.int64(-1)
            last[c] += difference
            position = _skip_ac(data, position + bits, c, ac_look, ac_slow)
            if position < 0:
                return np.int64(-1)
    return position


@numba.njit(cache=True, nogil=True)
def _cut_row(data, begin, end, before, row, blocks, dc_look, dc_slow, ac_look, ac_slow, encoder, last, out, position):
    """Appends the MCUs in bits begin to end of `data` to `out` at bit `position`; returns the new position,
    or -1.

    Only the first block of each component has its DC difference written anew, for it follows on another block
    now.
    """
    copied = begin
    seen = np.int64(0)
    for block in range(blocks.size):
        c = blocks[block]
        word = load_be64(data, begin >> 3) << np.uint64(begin & 7)
        bits, difference = read_dc(word, c, dc_look, dc_slow)
        if bits == 0:
            return np.int64(-1)
        if not seen >> c & 1:
            seen |= 1 << c
            difference += before[row, c] - last[c]
            size = category(difference)
            if size > 11:
                return np.int64(-1)
            position = copy_bits(data, copied, begin, out, position)
            position = put_bits(out, position, encoder[c, size, 0], encoder[c, size, 1])
            position = put_bits(out, position, difference if difference >= 0 else difference + (1 << size) - 1, size)
            copied = begin + bits
        begin = _skip_ac(data, begin + bits, c, ac_look, ac_slow)
        if begin < 0 or begin > end:
            return np.int64(-1)
    return copy_bits(data, copied, end, out, position)


@numba.njit(cache=True, nogil=True)
def cut(data, begins, ends, before, after, blocks, dc_look, dc_slow, ac_look, ac_slow, encoder, out):
    """Writes rows of MCUs, bits begins[r] to ends[r] of `data`, one behind the other to `out`, and ones up to
    a whole byte.

    before, after: (rows, components) DC values ahead of each row's first block and at its end. Returns the
    bytes written, or -1 where the data is damaged.
    """
    position = np.int64(0)
    last = np.zeros(before.shape[1], np.int64)
    for row in range(begins.size):
        position = _cut_row(
            data,
            begins[row],
            ends[row],
            before,
            row,
            blocks,
            dc_look,
            dc_slow,
            ac_look,
            ac_slow,
            encoder,
            last,
            out,
            position,
        )
        if position < 0:
            return np.int64(-1)
        for c in range(last.size):
            last[c] = after[row, c]
    rest = -position & 7
    return put_bits(out, position, (1 << rest) - 1, rest) >> 3
