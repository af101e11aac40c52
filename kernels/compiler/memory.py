"""Gives out the memory of a program: blocks with a time of birth and of death, laid out when all of them are known."""

import dataclasses

ALIGN = 16  # floats: a cache line


@dataclasses.dataclass
class Block:
    """So many floats, in use from one step of time to another, both included; last None: to the end."""

    floats: int
    first: int
    last: int | None = None


class MemoryPlanner:
    """Memory whose blocks are named by number until `lay_out` gives them offsets; time goes on at each barrier."""

    def __init__(self):
        self.blocks, self.released, self._time = [], 0, 0

    def take(self, floats, from_the_beginning=False):
        """Returns the number of a new block, in use from now on, or since ever: then no other one is written there
        before.
        """
        self.blocks.append(Block(-(-floats // ALIGN) * ALIGN, 0 if from_the_beginning else self._time))
        return len(self.blocks) - 1

    def release(self, number):
        """Ends a block; what is taken after the next barrier may lie in its place."""
        block = self.blocks[number]
        block.last = self._time
        self.released += block.floats

    def barrier(self):
        """Ends a step of time."""
        self._time += 1
        self.released = 0

    def lay_out(self):
        """Returns the offset of each block and the floats of them all.

        Large blocks first, each at the lowest place where no block lies that lives at the same time.
        """
        offsets, size, placed = [0] * len(self.blocks), 0, []
        lasting = [number for number, block in enumerate(self.blocks) if block.last is None]
        for number in lasting:
            offsets[number] = size
            size += self.blocks[number].floats
        base = size
        passing = [number for number, block in enumerate(self.blocks) if block.last is not None]
        for number in sorted(passing, key=lambda number: -self.blocks[number].floats):
            block, start = self.blocks[number], base
            for begin, end, first, last in placed:
                if begin >= start + block.floats:
                    break
                if end > start and first <= block.last and block.first <= last:
                    start = end
            offsets[number] = start
            placed.append((start, start + block.floats, block.first, block.last))
            placed.sort()
            size = max(size, start + block.floats)
        return offsets, size
