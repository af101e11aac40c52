"""JPEG's Huffman tables in the forms that the scan and the cut read them (ITU-T T.81, annexes C and F)."""

import numba
import numpy as np

DC_BITS, AC_BITS = 9, 11
END_OF_BLOCK = 128
"""What an end-of-block symbol adds to the coefficient's number: far beyond the 64 that a block holds."""


def is_table(counts, symbols):
    """True where `counts` and `symbols` are a table that decoders accept: no code too many for its length."""
    codes = 0
    for bits, count in enumerate(counts, 1):
        codes = 2 * codes + count
        if codes > 1 << bits:
            return False
    return 0 < len(symbols) == sum(counts) <= 256


def canonical(counts, symbols):
    """(codes, lengths) of a table's symbols in their order: `counts` symbols of 1 to 16 bits."""
    codes, lengths, code = [], [], 0
    for bits, count in enumerate(counts, 1):
        for _ in range(count):
            codes.append(code)
            lengths.append(bits)
            code += 1
        code <<= 1
    return np.array(codes, np.int64), np.array(lengths, np.int64)


def complete_dc(counts, symbols):
    """(counts, symbols) of a DC table with the missing ones of the categories 0 to 11 added behind the
    longest code.

    No code may consist of ones alone, so there is room below the last one; the codes that exist stay as they
    are. None where the table is so deep that it has no room.
    """
    missing = [k for k in range(12) if k not in symbols]
    if not missing:
        return list(counts), list(symbols)
    codes, lengths = canonical(counts, symbols)
    for bits in range(max(1, int(lengths[-1])), 17):
        free = ((int(codes[-1]) + 1) << (bits - int(lengths[-1]))) if len(codes) else 0
        if free + len(missing) <= (1 << bits) - 1:
            grown = list(counts)
            grown[bits - 1] += len(missing)
            return grown, list(symbols) + missing
    return None


def dc_encoder(counts, symbols):
    """(12, 2) int64: code and length for each category of a complete DC table."""
    table = np.zeros((12, 2), np.int64)
    for symbol, code, length in zip(symbols, *canonical(counts, symbols)):
        if symbol < 12:
            table[symbol] = code, length
    return table


def slow_table(counts, symbols):
    """(2, 18 + 256) int64: for each length the first code beyond it and the offset of its symbols; row 1 from
    18 on: the symbols.
    """
    table = np.zeros((2, 18 + 256), np.int64)
    code, at = 0, 0
    for bits, count in enumerate(counts, 1):
        table[1, bits] = at - code
        code, at = code + count, at + count
        table[0, bits] = code if count else 0
        code <<= 1
    table[1, 18 : 18 + len(symbols)] = symbols
    return table


@numba.njit(cache=True, nogil=True)
def _first_level(codes, lengths, symbols, bits):
    """(2**bits,) int64: length * 256 + symbol of the code that each window begins with, 0 where it is longer."""
    table = np.zeros(1 << bits, np.int64)
    for k in range(codes.size):
        if lengths[k] <= bits:
            first = codes[k] << (bits - lengths[k])
            table[first : first + (1 << (bits - lengths[k]))] = lengths[k] * 256 + symbols[k]
    return table


@numba.njit(cache=True, nogil=True)
def _advance(symbol):
    """By how many coefficients a symbol of an AC table moves on; beyond the block, but not as far as its end does,
    where baseline JPEG does not have it.
    """
    if symbol == 0:
        return END_OF_BLOCK
    if symbol == 0xF0:
        return 16
    return (symbol >> 4) + 1 if symbol & 15 and (symbol & 15) <= 10 else 64


@numba.njit(cache=True, nogil=True)
def _skip_table(first):
    """(2**11,) uint32, for reading over coefficients: as many symbols as the window of 11 bits tells whole,
    their values left unread.

    Bits 0-4 length and 5-12 advance of the first symbol; 13-17 length and 18-25 advance of all of them; 26-31
    advance before the last.
    """
    table = np.zeros(1 << AC_BITS, np.uint32)
    mask = (1 << AC_BITS) - 1
    for window in range(1 << AC_BITS):
        entry = first[window]
        if entry == 0:
            continue
        length = (entry >> 8) + (entry & 15)
        advance = _advance(entry & 255)
        all_length, all_advance, before = length, advance, 0
        while all_advance < 64 and all_length < AC_BITS:
            entry = first[(window << all_length) & mask]
            if entry == 0 or all_length + (entry >> 8) > AC_BITS:
                break
            before = all_advance
            all_length += (entry >> 8) + (entry & 15)
            all_advance += _advance(entry & 255)
        table[window] = length | advance << 5 | all_length << 13 | all_advance << 18 | before << 26
    return table


def dc_table(counts, symbols):
    """(512,) int64: length * 256 + category of the code that each 9 bits begin with."""
    return _first_level(*canonical(counts, symbols), np.array(symbols, np.int64), DC_BITS)


def ac_table(counts, symbols):
    """(2048,) uint32, see `_skip_table`."""
    return _skip_table(_first_level(*canonical(counts, symbols), np.array(symbols, np.int64), AC_BITS))


@numba.njit(cache=True, nogil=True)
def _value_table(first):
    """(2**11,) int32, for reading coefficients: bits 0-5 length of code and value, 6-10 of the code alone, 11-14 of the
    value, 16-23 advance; 0 where the code is longer than the window. The end of a block advances by END_OF_BLOCK.
    """
    table = np.zeros(1 << AC_BITS, np.int32)
    for window in range(1 << AC_BITS):
        entry = first[window]
        if entry != 0:
            length, size = entry >> 8, entry & 15
            table[window] = (length + size) | length << 6 | size << 11 | _advance(entry & 255) << 16
    return table


def value_table(counts, symbols):
    """(2048,) int32, see `_value_table`."""
    return _value_table(_first_level(*canonical(counts, symbols), np.array(symbols, np.int64), AC_BITS))
