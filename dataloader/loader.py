"""From a source and a transform to batches in shared memory, the same bytes for any number of workers."""

import os
import pickle
import select
import socket
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from dataloader.arena import MADE, SAMPLE, Arena
from dataloader.messages import MAX_PACKET, TASK, pair, receive, to_memory
from dataloader.nursery import start_nursery
from dataloader.plan import Plan
from dataloader.quarantine import Quarantine

MAX_DEATHS = 3
CLOSE_WAIT_S = 5.0
_POLL_MS = 1000


@dataclass
class Spec:
    """What a worker has to know; travels to the foreman once."""

    source: object
    transform: object
    seed: int
    normalise: object
    mask_bad: bool
    cores: tuple
    layout: tuple


@dataclass(frozen=True)
class Batch:
    """Views into a slot of the ring, valid until the next batch is asked for; unpacks as (images, labels, weights).

    images (B, H, W, 3) uint8, or (B, 3, H, W) float32; labels (B,) int32; weights (B,) float32, 0 where a place is padded; ids (B,) int64.
    """

    images: np.ndarray
    labels: np.ndarray
    weights: np.ndarray
    ids: np.ndarray
    epoch: int
    index: int

    def __iter__(self):
        return iter((self.images, self.labels, self.weights))

    def __len__(self):
        return len(self.labels)


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

    rank, size: this process's share. tail: what becomes of the last samples, see `Plan`; "pad" is for evaluation. workers: processes (default:
    one a core that this process may run on). cores: core numbers to which the workers are bound in turn. slots: batches in the ring.
    hold: how many batches the consumer may keep at a time. output: "uint8" NHWC or "float32" NCHW, with normalise=(mean, std) in 0-255 units.
    quarantine: CSV file for the paths of files that cannot be used; max_bad: the share of them that ends the run. In training another
    sample takes such a file's place, with tail="pad" it gets weight 0. ledger: a `Ledger` that is shown every batch.
    """

    def __init__(self, source, batch_size, transform, *, seed=0, rank=0, size=1, workers=None, cores=None, shuffle=None, tail=None,
                 output="uint8", normalise=None, slots=None, hold=1,
                 quarantine=None, max_bad=0.001, ledger=None):
        if output not in ("uint8", "float32"):
            raise ValueError(f"output={output!r}: allowed are uint8, float32")
        if (output == "float32") != (normalise is not None):
            raise ValueError(f"normalise={normalise!r} with output={output!r}: (mean, std) belong to float32 and to nothing else")
        shuffle = transform.train if shuffle is None else shuffle
        tail = ("drop" if transform.train else "pad") if tail is None else tail
        self.plan = Plan(len(source), batch_size, rank, size, seed, shuffle, tail)
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
        self._hold = hold
        # Several workers share a batch, so that the first one comes early and the last one does not wait for a single worker;
        # tasks of under 16 samples cost more in messages than they win.
        self._parts = max(1, min(self.workers, batch_size // 16)) if source.encoded else 1
        self._open(batch_size, seed, output, normalise, tuple(cores or ()))

    def _open(self, batch_size, seed, output, normalise, cores):
        side = self.transform.image_size
        shape = (batch_size, side, side, 3) if output == "uint8" else (batch_size, 3, side, side)
        self._arena = Arena(self.slots, shape, output, self.workers)
        self._arena.workers[:, SAMPLE] = -1
        spec = Spec(self.source, self.transform, seed, normalise, self.plan.tail == "pad", cores, self._arena.layout)
        nursery = start_nursery()
        self.foreman_pid = nursery.pid
        self._control, theirs = pair()
        pairs = [pair() for _ in range(self.workers)]
        self._socks = [ours for ours, _ in pairs]
        spec_fd = to_memory(spec)
        try:
            nursery.open([theirs.fileno(), spec_fd, self._arena.fd, *(end.fileno() for _, end in pairs)])
        finally:
            os.close(spec_fd)
            theirs.close()
            for _, end in pairs:
                end.close()
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        for sock in self._socks:
            self._poll.register(sock, select.POLLIN)
        self._pids = []
        self._tasks = {}  # number -> (flight, worker, packet)
        self._load = [0] * self.workers
        self._number = 0
        self._free = deque(range(self.slots))
        self._flights, self._held = deque(), deque()
        self._next = None  # (epoch, index) to send out next
        self._order = (None, None)
        self._deaths, self._made = {}, 0
        self._stream = 0

    def __len__(self):
        return len(self.plan)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __del__(self):
        if getattr(self, "_control", None) is not None:
            self.close()

    @property
    def nbytes(self):
        """Bytes of shared memory that the ring takes."""
        return self._arena.nbytes

    @property
    def pids(self):
        """Process ids of the workers; waits until they are up."""
        while not self._pids:
            self._listen()
        return list(self._pids)

    def epoch(self, epoch, start=0):
        """Iterates over the batches of `epoch` from batch `start` on. A new call ends the one before."""
        if self._control is None:
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
            arena, slot = self._arena, flight.slot
            batch = Batch(arena.images[slot], arena.labels[slot], arena.weights[slot], arena.ids[slot], epoch, index)
            if self.ledger is not None:
                self.ledger.take(batch)
            yield batch

    def _release_all(self):
        self._free.extend(self._held)
        self._held.clear()

    def _send_out(self):
        """Fills every free slot's batch into the workers' queues, across the end of the epoch where epochs differ."""
        while self._free and self._next is not None:
            epoch, index = self._next
            if index >= len(self):
                self._next = (epoch + 1, 0) if self.plan.shuffle else None
                continue
            if self._order[0] != epoch:
                self._order = (epoch, self.plan.order(epoch))
            flight = Flight(self._free.popleft(), epoch, index, self.plan.batch(self._order[1], index))
            self._arena.ids[flight.slot] = flight.ids
            edges = np.linspace(0, self.plan.batch_size, self._parts + 1).astype(int)
            for first, end in zip(edges[:-1].tolist(), edges[1:].tolist()):
                self._number = (self._number + 1) % 2**31
                packet = TASK.pack(int(self._arena.generation[0]), epoch, flight.slot, first, end, self._number)
                worker = self._load.index(min(self._load))
                self._load[worker] += 1
                self._tasks[self._number] = flight, worker, packet
                flight.open_tasks += 1
                self._post(worker, packet)
            self._flights.append(flight)
            self._next = (epoch, index + 1)

    def _post(self, worker, packet):
        try:
            self._socks[worker].send(packet)
        except (BrokenPipeError, ConnectionResetError):
            pass  # dead; the foreman's notice is on its way, and the task is kept

    def _cancel(self):
        """Takes back all that is under way: workers skip the tasks of an older generation."""
        self._arena.generation[0] += 1
        while self._tasks:
            self._listen()
        self._free.extend(flight.slot for flight in self._flights)
        self._flights.clear()

    def _listen(self):
        """Waits for the next news of workers or foreman and takes it in."""
        for fd, _ in self._poll.poll(_POLL_MS):
            if fd == self._control.fileno():
                self._hear_foreman()
            else:
                sock = next((sock for sock in self._socks if sock.fileno() == fd), None)
                if sock is not None:
                    self._hear_worker(sock)

    def _hear_worker(self, sock):
        try:
            packet = sock.recv(MAX_PACKET)
        except ConnectionResetError:
            packet = b""
        if not packet:
            self._poll.unregister(sock)  # dead; the foreman will say so and bring the next one
            return
        self._done(packet)

    def _done(self, packet):
        number = TASK.unpack_from(packet)[-1]
        flight, worker, _ = self._tasks.pop(number)
        self._load[worker] -= 1
        flight.open_tasks -= 1
        if len(packet) > TASK.size:
            bad, error = pickle.loads(memoryview(packet)[TASK.size :])
            flight.error = flight.error or error
            for sample, reason in bad:
                self.quarantine.add(self.source.path(sample), sample, reason, flight.epoch)

    def _hear_foreman(self):
        try:
            message, fds = receive(self._control)
        except EOFError:
            raise RuntimeError("the process that starts the loader's workers has ended; was it killed?") from None
        if message[0] == "started":
            self._pids = list(message[1])
        elif message[0] == "failed":
            raise RuntimeError(f"the loader's workers could not be started:\n{message[1]}")
        else:
            _, index, pid, status, new_pid = message
            self._take_over(index, pid, status, new_pid, fds[0])

    def _take_over(self, index, pid, status, new_pid, fd):
        """Worker `index` died: reads what it had finished, gives the rest to the one in its place."""
        old = self._socks[index]
        old.setblocking(False)
        try:
            while packet := old.recv(MAX_PACKET):
                self._done(packet)
        except (BlockingIOError, ConnectionResetError):
            pass
        try:
            self._poll.unregister(old)
        except KeyError:
            pass
        old.close()
        self._socks[index] = socket.socket(fileno=fd)
        self._poll.register(self._socks[index], select.POLLIN)
        self._pids[index] = new_pid
        self._count_death(index, pid, status)
        for flight, worker, packet in list(self._tasks.values()):
            if worker == index:
                self._arena.ids[flight.slot] = flight.ids
                self._post(index, packet)

    def _count_death(self, index, pid, status):
        sample = int(self._arena.workers[index, SAMPLE])
        self._arena.workers[index, SAMPLE] = -1
        made = int(self._arena.workers[:, MADE].sum())
        if made != self._made:
            self._made = made
            self._deaths.pop(-1, None)  # only deaths without any work between them point to a worker that cannot start
        self._deaths[sample] = self._deaths.get(sample, 0) + 1
        if self._deaths[sample] >= MAX_DEATHS:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            where = f"on sample {sample}, {self.source.path(sample)}" if sample >= 0 else "outside any sample"
            raise RuntimeError(f"loader workers died {MAX_DEATHS} times {where} (last: pid {pid}, {how})")

    def close(self):
        """Ends the workers, waits until they are gone and gives the ring back. Views of batches stay readable."""
        control, self._control = self._control, None
        if control is None:
            return
        self._stream += 1
        try:
            control.shutdown(socket.SHUT_WR)
            control.settimeout(CLOSE_WAIT_S)
            while control.recv(MAX_PACKET):  # the foreman closes its end when the last worker has been reaped
                pass
        except OSError:
            pass
        control.close()
        for sock in self._socks:
            sock.close()
        self._arena.close()
