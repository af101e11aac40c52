"""A fixed ring of batch slots in anonymous shared memory. Nothing of it has a name, so nothing can be left
behind.
"""

import mmap
import os

import numpy as np

from cellwright.dataloader.workers.spans import nbytes, rings

PAGE = 4096
_HEADER_WORDS, _WORKER_WORDS = 8, 8
# Words of a worker's row: the sample in hand (-1: none), samples made, nanoseconds in reading, decoding,
# augmenting.
SAMPLE, MADE, READ_NS, DECODE_NS, AUGMENT_NS = range(5)


def _up(n):
    return -(-n // PAGE) * PAGE


def available_memory(meminfo="/proc/meminfo", groups="/sys/fs/cgroup"):
    """Bytes that this process may still take: the machine's available memory, less where a control group
    allows less.
    """
    with open(meminfo) as lines:
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            with open(f"{groups}/{limit}") as a, open(f"{groups}/{used}") as b:
                allowed = a.read().strip()
                if allowed != "max":
                    free = min(free, int(allowed) - int(b.read()))
        except (OSError, ValueError):
            continue
    return max(free, 0)


class RingBuffer:
    """`slots` batches of shape `image_shape` (B, ...) in one memfd, and the words through which workers can
    be watched.

    `images`, `labels`, `weights`, `ids` and each array of `fields` have the slot as first axis; `generation` is one
    int64, `workers` one row each. fields: (shape of a sample's value, dtype) of each. spans: how many spans
    each worker keeps for a profile, see `workers.spans`. Raises MemoryError with the size needed where memory does not
    hold the ring.
    """

    def __init__(self, slots, image_shape, dtype, workers, spans=0, fields=(), fd=None):
        self.layout = (slots, tuple(image_shape), np.dtype(dtype).str, workers, spans, tuple(fields))
        batch = image_shape[0]
        fields = [((slots, batch, *shape), np.dtype(kind)) for shape, kind in fields]
        field_bytes = [_up(int(np.prod(shape)) * kind.itemsize) for shape, kind in fields]
        image_bytes = _up(int(np.prod(image_shape)) * np.dtype(dtype).itemsize)
        head = _up(8 * (_HEADER_WORDS + _WORKER_WORDS * workers))
        self.nbytes = head + slots * image_bytes + 3 * _up(slots * batch * 8)
        self.nbytes += sum(field_bytes) + nbytes(workers, spans)
        self.fd = self._create() if fd is None else fd
        self._map = mmap.mmap(self.fd, self.nbytes)
        words = np.frombuffer(self._map, np.int64, _HEADER_WORDS + _WORKER_WORDS * workers)
        self.generation = words[:1]
        self.workers = words[_HEADER_WORDS:].reshape(workers, _WORKER_WORDS)
        at = head
        inner = np.empty(image_shape[1:], dtype)
        strides = (image_bytes, inner.nbytes, *inner.strides)  # every slot begins on a page
        self.images = np.ndarray((slots, *image_shape), dtype, self._map, at, strides)
        at += slots * image_bytes
        small = []
        for kind in (np.int32, np.float32, np.int64):
            small.append(np.frombuffer(self._map, kind, slots * batch, at).reshape(slots, batch))
            at += _up(slots * batch * 8)
        self.labels, self.weights, self.ids = small
        self.fields = []
        for (shape, kind), size in zip(fields, field_bytes):
            self.fields.append(np.ndarray(shape, kind, self._map, at))
            at += size
        self.spans = rings(self._map, at, workers, spans)

    def _create(self):
        free = available_memory()
        need = f"the loader's ring needs {self.nbytes / 2**20:.0f} MiB of shared memory"
        advice = "take a smaller batch or fewer slots"
        if self.nbytes > free:
            raise MemoryError(f"{need}, {free / 2**20:.0f} MiB are available; {advice}")
        fd = os.memfd_create("cellwright-ring", os.MFD_CLOEXEC)
        try:
            # Takes the pages now: a ring that does not fit fails here and not as a bus error in a worker.
            os.posix_fallocate(fd, 0, self.nbytes)
        except OSError as error:
            os.close(fd)
            raise MemoryError(f"{need}: {error.strerror}; {advice}") from None
        return fd

    @classmethod
    def attach(cls, fd, layout):
        """The same ring, mapped in another process."""
        return cls(*layout, fd=fd)

    def close(self):
        """Gives the file back; the memory goes when the last view of it does."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None
