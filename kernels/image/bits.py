"""Reading and writing runs of bits in byte arrays, most significant bit first, and JPEG's byte stuffing."""

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic


@intrinsic
def load_be64(typing_context, array, index):
    """The 8 bytes of a uint8 array from `index` on as one big-endian uint64; nothing checks the bounds."""

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.bswap(builder.load(address, align=1))

    return types.uint64(array, types.int64), generate


@intrinsic
def store_be64(typing_context, array, index, value):
    """Writes a uint64 to the 8 bytes of a uint8 array from `index` on, most significant byte first; nothing
    checks the bounds.
    """

    def generate(context, builder, signature, arguments):
        view = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(view.data, [arguments[1]]), ir.IntType(64).as_pointer())
        builder.store(builder.bswap(arguments[2]), address, align=1)
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(array, types.int64, types.uint64), generate


SLACK = 256
"""Bytes that every buffer must have beyond its contents: whole words are read and written, and a damaged JPEG
block is read to its end, up to 212 bytes, before that is checked."""

_ONES, _TOPS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)


@numba.njit(cache=True, nogil=True)
def _holds_ff(word):
    """True where one of the eight bytes is 0xFF (may also be true for a byte above a 0xFF)."""
    flipped = ~word
    return ((flipped - _ONES) & word & _TOPS) != 0


@numba.njit(cache=True, nogil=True)
def unstuff(data, start, end, out):
    """Copies JPEG's entropy-coded bytes from data[start:end] to `out` without the zero behind each 0xFF.

    Stops at a marker. Returns (bytes written, position in `data` where it stopped).
    """
    i, n = start, 0
    while i < end:
        if i + 8 <= end:
            word = load_be64(data, i)
            if not _holds_ff(word):
                store_be64(out, n, word)
                i += 8
                n += 8
                continue
        stop = min(i + 8, end)
        while i < stop:
            byte = data[i]
            if byte == 0xFF:
                if i + 1 >= end or data[i + 1] != 0:
                    return n, i
                i += 1
            out[n] = byte
            i += 1
            n += 1
    return n, i


@numba.njit(cache=True, nogil=True)
def stuff(data, size, out, at):
    """Copies data[:size] to `out` from `at` on with a zero behind each 0xFF; returns the position behind the
    last byte.
    """
    i = 0
    while i < size:
        word = load_be64(data, i)
        if i + 8 <= size and not _holds_ff(word):
            store_be64(out, at, word)
            i += 8
            at += 8
            continue
        stop = min(i + 8, size)
        while i < stop:
            out[at] = data[i]
            at += 1
            if data[i] == 0xFF:
                out[at] = 0
                at += 1
            i += 1
    return at


@numba.njit(cache=True, nogil=True)
def put_bits(out, position, value, count):
    """Writes the `count` (up to 32) low bits of `value` at bit `position`, zeros behind them; returns the new
    position.
    """
    if count == 0:
        return position
    index, used = position >> 3, np.uint64(position & 7)
    head = load_be64(out, index) & ~(np.uint64(0xFFFFFFFFFFFFFFFF) >> used)
    body = (np.uint64(value) << np.uint64(64 - count)) >> used
    store_be64(out, index, head | body)
    return position + count


@numba.njit(cache=True, nogil=True)
def copy_bits(data, begin, end, out, position):
    """Appends bits begin to end of `data` to `out` at bit `position`; returns the new position."""
    # The head of the first word is kept in a register: reading back what was just written costs four times as
    # much.
    used = position & 7
    index = position >> 3
    head = load_be64(out, index) & ~(np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(used))
    while end - begin >= 32:
        word = load_be64(data, begin >> 3) << np.uint64(begin & 7) >> np.uint64(32)
        head |= word << np.uint64(32 - used)
        store_be64(out, index, head)
        head <<= np.uint64(32)
        index += 4
        begin += 32
    store_be64(out, index, head)
    position = (index << 3) + used
    rest = end - begin
    if rest > 0:
        word = load_be64(data, begin >> 3) << np.uint64(begin & 7)
        position = put_bits(out, position, word >> np.uint64(64 - rest), rest)
    return position
