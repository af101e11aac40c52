"""The kept notes of a JPEG's scan: which byte and bit every few MCUs begin at, so that a part is found
without reading what is before.
"""

import numba
import numpy as np

from cellwright.kernels.image.bits import unstuff
from cellwright.kernels.image.jpeg import skip_units

STEP = 4
"""MCUs between two notes of a row: 2 % of a 110 KB file of 500 x 375, half of that at 8, and some 20
microseconds a crop slower.
"""


@numba.njit(cache=True, nogil=True)
def stuffed_positions(data, start, positions, out):
    """Writes to `out` uint32 where the ascending bit `positions` of the unstuffed bytes lie in the stuffed
    ones, in bits from `start`.
    """
    at, plain = start, np.int64(0)
    for k in range(positions.size):
        byte = positions[k] >> 3
        while plain < byte:
            at += 2 if data[at] == 0xFF else 1
            plain += 1
        out[k] = ((at - start) << 3) + (positions[k] & 7)


@numba.njit(cache=True, nogil=True)
def locate(data, start, end, notes, note_dcs, first_row, left, right, columns, blocks,
           dc_look, dc_slow, ac_look, ac_slow, scratch, begins, ends, before, after):  # fmt: skip
    """Brings columns `left` to `right` of some rows of MCUs to `scratch`, unstuffed, and fills what `cut`
    wants to know of them.

    data[start:end]: the stuffed bytes. notes (rows, n + 1) uint32 and note_dcs (rows, n + 1, components)
    int16: kept by the scan. The rows are `first_row` and as many as `begins` has. Returns False where the
    data is damaged.
    """
    size = np.int64(0)
    last = np.zeros(before.shape[1], np.int64)
    near, far = left // STEP, right // STEP
    final = notes.shape[1] - 1
    if right == columns:
        far = final
    for row in range(begins.size):
        note = first_row + row
        head, tail = np.int64(notes[note, near]), np.int64(notes[note, far])
        stop = np.int64(notes[note, min(far + 1, final)])
        begin = start + (head >> 3)
        middle = start + (tail >> 3)
        close = min(start + (stop >> 3) + 2, end)  # the last byte may be stuffed
        if not start <= begin <= middle <= close or 2 * (close - begin) + size > scratch.size:
            return False
        n, _ = unstuff(data, begin, middle, scratch[size:])
        for c in range(last.size):
            last[c] = note_dcs[note, near, c]
        more, _ = unstuff(data, middle, close, scratch[size + n :])
        position = skip_units(
            scratch,
            8 * size + (head & 7),
            left - near * STEP,
            blocks,
            dc_look,
            dc_slow,
            ac_look,
            ac_slow,
            last,
        )
        if position < 0:
            return False
        begins[row] = position
        for c in range(last.size):
            before[row, c] = last[c]
            last[c] = note_dcs[note, far, c]
        position = 8 * (size + n) + (tail & 7)
        if right < columns:
            position = skip_units(
                scratch, position, right - far * STEP, blocks, dc_look, dc_slow, ac_look, ac_slow, last
            )
            if position < 0:
                return False
        ends[row] = position
        for c in range(last.size):
            after[row, c] = last[c]
        size += n + more
    return True
