"""What each worker was doing when, in a small ring of shared memory: only while a profile is taken."""

import numpy as np

READ, DECODE, AUGMENT, WRITE = range(4)
NAMES = ("read", "decode", "augment", "write")
_WORDS = 4  # kind, begin, end, sample; the first row holds the count


def nbytes(workers, spans):
    """Bytes of the rings of all workers."""
    return 8 * _WORDS * workers * (spans + 1) if spans else 0


def rings(memory, offset, workers, spans):
    """Returns the rings that lie in `memory`, int64 (workers, spans + 1, 4), or None if none are kept."""
    if not spans:
        return None
    return np.frombuffer(memory, np.int64, workers * (spans + 1) * _WORDS, offset).reshape(workers, spans + 1, _WORDS)


class SpanRing:
    """The writer's side of one worker's ring."""

    def __init__(self, ring):
        self._count, self._rows = ring[0], ring[1:]

    def add(self, kind, begin, end, sample):
        """Keeps a span, in place of the oldest one where the ring is full."""
        self._rows[self._count[0] % len(self._rows)] = kind, begin, end, sample
        self._count[0] += 1


def read_spans(ring):
    """Returns [(name, begin, end, sample)] of one worker's ring, oldest first; times in ns of time.perf_counter."""
    count, rows = int(ring[0, 0]), ring[1:]
    kept = min(count, len(rows))
    order = np.arange(count - kept, count) % len(rows)
    return [(NAMES[kind], begin, end, sample) for kind, begin, end, sample in rows[order].tolist()]
