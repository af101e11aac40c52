"""Blocks of a program's memory: none that live at once overlap, and the room is little more than the most that lives
at once.
"""

import numpy as np
import pytest

from cellwright.kernels.compiler.memory import ALIGN, MemoryPlanner


@pytest.mark.parametrize("seed", range(30))
def test_blocks_that_live_at_once_never_overlap(seed):
    draw = np.random.default_rng(seed)
    planner, alive, lives, most = MemoryPlanner(), [], {}, 0
    for time in range(40):
        for _ in range(draw.integers(0, 4)):
            lasting = draw.random() < 0.1
            number = planner.take(int(draw.integers(1, 2000)), from_the_beginning=lasting)
            lives[number] = [0 if lasting else time, 40]
            if not lasting:
                alive.append(number)
        draw.shuffle(alive)
        for _ in range(draw.integers(0, len(alive) + 1)):
            number = alive.pop()
            planner.release(number)
            lives[number][1] = time
        planner.barrier()
    offsets, size = planner.lay_out()
    spans = [(start, start + planner.blocks[k].floats, *lives[k]) for k, start in enumerate(offsets)]
    for k, (start, end, first, last) in enumerate(spans):
        assert start % ALIGN == 0 and end <= size
        for other, (begin, stop, born, died) in enumerate(spans):
            if other != k and first <= died and born <= last:
                assert end <= begin or stop <= start
    for time in range(40):
        most = max(most, sum(end - start for start, end, first, last in spans if first <= time <= last))
    assert most <= size <= 1.6 * most


def test_released_counts_what_waits_for_a_barrier():
    planner = MemoryPlanner()
    first, second = planner.take(16), planner.take(1)
    planner.release(second)
    assert planner.released == 16
    planner.barrier()
    assert planner.released == 0
    planner.release(first)
    assert planner.lay_out() == ([0, 16], 32)
