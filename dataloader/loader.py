"""From a source and a transform to batches in shared memory, the same bytes for any number of workers."""

import os
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from cellwright.dataloader.batch import Batch, BatchMixer
from cellwright.dataloader.fields import Picture
from cellwright.dataloader.quarantine import Quarantine
from cellwright.dataloader.sample_writer import SampleWriter
from cellwright.dataloader.sampler import Sampler
from cellwright.dataloader.sources.source import as_source
from cellwright.dataloader.workers.ring_buffer import SAMPLE, RingBuffer
from cellwright.dataloader.workers.spans import read_spans
from cellwright.dataloader.workers.worker_pool import WorkerPool


@dataclass
class WorkerSpec:
    """What a worker has to know; travels to the supervisor once."""

    source: object
    transform: object
    seed: int
    normalise: object
    mask_bad: bool
    cores: tuple
    layout: tuple

    def sample_writer(self):
        """Returns what a worker writes its samples with."""
        return SampleWriter(self.source, self.transform, self.seed, self.normalise, self.mask_bad)


@dataclass
class Flight:
    """A batch on its way: its slot, its ids and how many tasks are still out."""

    slot: int
    epoch: int
    index: int
    ids: np.ndarray
    open_tasks: int = 0
    error: str = ""


class Loader:
    """Batches of `source` through `transform`, made by worker processes, in an order fixed by (seed, epoch).

    source: a `Source`, or any object with `len`, `read(k)` and `label(k)`, see `as_source`.

    rank, size: this process's share. tail: what becomes of the last samples, see `Sampler`; "pad" is for
    evaluation. workers: processes (default: one a core that this process may run on). cores: core numbers to
    which the workers are bound in turn. slots: batches in the ring. hold: how many batches the consumer may
    keep at a time. output: "uint8" NHWC or "float32" NCHW, with normalise=(mean, std) in 0-255 units.
    quarantine: CSV file for the paths of files that cannot be used; max_bad: the share of them that ends the
    run. In training another sample takes such a file's place, with tail="pad" it gets weight 0. ledger: a
    `Ledger` that is shown every batch. spans: how many of its latest spans each worker keeps for a profile. classes:
    how many there are, for the soft labels of mixup and CutMix (default: as many as the source names).
    """

    def __init__(
        self,
        source,
        batch_size,
        transform,
        *,
        seed=0,
        rank=0,
        size=1,
        workers=None,
        cores=None,
        shuffle=None,
        tail=None,
        output="uint8",
        normalise=None,
        slots=None,
        hold=1,
        quarantine=None,
        max_bad=0.001,
        ledger=None,
        spans=0,
        classes=None,
    ):
        if output not in ("uint8", "float32"):
            raise ValueError(f"output={output!r}: allowed are uint8, float32")
        if (output == "float32") != (normalise is not None):
            raise ValueError(
                f"normalise={normalise!r} with output={output!r}: (mean, std) belong to float32 and to nothing else"
            )
        shuffle = transform.train if shuffle is None else shuffle
        tail = ("drop" if transform.train else "pad") if tail is None else tail
        source = as_source(source)
        self.sampler = Sampler(len(source), batch_size, rank, size, seed, shuffle, tail)
        self.source, self.transform = source, transform
        self.workers = workers if workers is not None else max(1, len(cores or os.sched_getaffinity(0)))
        if self.workers < 1:
            raise ValueError(f"workers={workers}: at least 1 is needed")
        if hold < 1:
            raise ValueError(f"hold={hold}: at least 1 is needed")
        self.slots = slots or 2 * self.workers + 1 + hold
        if self.slots <= hold:
            raise ValueError(f"slots={slots}: more than hold={hold} are needed")
        self.quarantine = Quarantine(len(source), quarantine, max_bad)
        self.ledger = ledger
        self.wait_s = 0.0
        mixed = transform.train and (transform.mixup or transform.cutmix)
        self._mixer = BatchMixer(transform.mixup, transform.cutmix, seed) if mixed else None
        self.classes = classes or len(source.classes)
        if mixed and batch_size < 2:
            raise ValueError(f"batch_size={batch_size}: mixup and CutMix need 2 and more, they mix within a batch")
        if mixed and not self.classes:
            raise ValueError("classes: mixup and CutMix need to know how many there are, and the source names none")
        self._hold = hold
        # Several workers share a batch, so that the first one comes early and the last one does not wait for
        # a single worker; tasks of under 16 samples cost more in messages than they win.
        self._parts = max(1, min(self.workers, batch_size // 16)) if source.encoded else 1
        self._open(batch_size, seed, output, normalise, tuple(cores or ()), spans)

    def _open(self, batch_size, seed, output, normalise, cores, spans):
        side = self.transform.image_size
        shape = (batch_size, side, side, 3) if output == "uint8" else (batch_size, 3, side, side)
        fields = [
            (shape[1:], output) if isinstance(field, Picture) else (field.shape(side), field.dtype)
            for field in self.transform.fields
        ]
        self._ring = RingBuffer(self.slots, shape, output, self.workers, spans, fields)
        self._ring.workers[:, SAMPLE] = -1
        spec = WorkerSpec(
            self.source, self.transform, seed, normalise, self.sampler.tail == "pad", cores, self._ring.layout
        )
        self._pool = WorkerPool(self._ring, spec, self.workers, self.source.path)
        self._free = deque(range(self.slots))
        self._flights, self._held = deque(), deque()
        self._next = None  # (epoch, index) to send out next
        self._order = (None, None)
        self._stream = 0

    def __len__(self):
        return len(self.sampler)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_pool", None) is not None:
            self.close()

    @property
    def nbytes(self):
        """Bytes of shared memory that the ring takes."""
        return self._ring.nbytes

    @property
    def pids(self):
        """Process ids of the workers; waits until they are up."""
        return self._pool.pids

    @property
    def supervisor_pid(self):
        """Process id of the workers' parent."""
        return self._pool.supervisor_pid

    def epoch(self, epoch, start=0):
        """Iterates over the batches of `epoch` from batch `start` on. A new call ends the one before."""
        if self._pool is None:
            raise RuntimeError("the loader is closed")
        if not 0 <= start <= len(self):
            raise ValueError(f"start={start}: allowed are 0 to {len(self)}, the number of batches")
        self._stream += 1
        self._release_all()
        ahead = self._flights[0] if self._flights else None
        if ahead is None or (ahead.epoch, ahead.index) != (epoch, start):
            self._cancel()
            self._next = (epoch, start)
        return self._batches(epoch, start, self._stream)

    def _batches(self, epoch, start, stream):
        for index in range(start, len(self)):
            if stream != self._stream:
                raise RuntimeError("this epoch's iterator was ended by a later call of epoch() or close()")
            while len(self._held) >= self._hold:
                self._free.append(self._held.popleft())
            self._send_out()
            flight = self._flights[0]
            began = time.perf_counter()
            while flight.open_tasks:
                self._listen()
            self.wait_s += time.perf_counter() - began
            if flight.error:
                raise RuntimeError(f"a loader worker failed in epoch {epoch}, batch {index}:\n{flight.error}")
            self._flights.popleft()
            self._held.append(flight.slot)
            ring, slot = self._ring, flight.slot
            images, labels, ids = ring.images[slot], ring.labels[slot], ring.ids[slot]
            mixed = () if self._mixer is None else self._mixer(images, labels, ids, epoch)
            fields = {field.name: array[slot] for field, array in zip(self.transform.fields, ring.fields)}
            more = {"classes": self.classes, "fields": fields}
            batch = Batch(images, labels, ring.weights[slot], ids, epoch, index, *mixed, **more)
            if self.ledger is not None:
                self.ledger.take(batch)
            yield batch

    def _release_all(self):
        self._free.extend(self._held)
        self._held.clear()

    def _send_out(self):
        """Fills every free slot's batch into the workers' queues, across the end of the epoch where epochs
        differ.
        """
        while self._free and self._next is not None:
            epoch, index = self._next
            if index >= len(self):
                self._next = (epoch + 1, 0) if self.sampler.shuffle else None
                continue
            if self._order[0] != epoch:
                self._order = (epoch, self.sampler.order(epoch))
            flight = Flight(self._free.popleft(), epoch, index, self.sampler.batch(self._order[1], index))
            self._ring.ids[flight.slot] = flight.ids
            edges = np.linspace(0, self.sampler.batch_size, self._parts + 1).astype(int)
            for first, end in zip(edges[:-1].tolist(), edges[1:].tolist()):
                flight.open_tasks += 1
                self._pool.give(flight, epoch, flight.slot, first, end)
            self._flights.append(flight)
            self._next = (epoch, index + 1)

    def _cancel(self):
        """Takes back all that is under way: workers skip the tasks of an older generation."""
        self._ring.generation[0] += 1
        while self._pool.busy:
            self._listen()
        self._free.extend(flight.slot for flight in self._flights)
        self._flights.clear()

    def occupancy(self):
        """Returns (batches that are ready and not yet asked for, batches that are under way or ready)."""
        while self._pool.busy and self._listen(0):
            pass
        return sum(not flight.open_tasks for flight in self._flights), len(self._flights)

    def worker_spans(self):
        """Returns the latest spans of each worker: a list of (name, begin, end, sample), times in ns of
        time.perf_counter; empty lists unless `spans` was given.
        """
        rings = self._ring.spans
        return [read_spans(ring) for ring in rings] if rings is not None else [[]] * self.workers

    def _listen(self, *wait_ms):
        """Waits for the next news of the workers and takes it in; returns how much there was."""
        news = self._pool.listen(*wait_ms)
        for flight, bad, error in news:
            flight.open_tasks -= 1
            flight.error = flight.error or error
            for sample, reason in bad:
                self.quarantine.add(self.source.path(sample), sample, reason, flight.epoch)
        return len(news)

    def close(self):
        """Ends the workers, waits until they are gone and gives the ring back. Views of batches stay
        readable.
        """
        if self._pool is None:
            return
        self._stream += 1
        self._pool.close()
        self._pool = None
        self._ring.close()
