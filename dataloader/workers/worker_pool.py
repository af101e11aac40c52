"""The loader's side of its worker processes: hands out tasks, hears what became of them, survives the death
of any.
"""

import os
import pickle
import select
import socket

from cellwright.dataloader.workers.forkserver import start_forkserver
from cellwright.dataloader.workers.messages import MAX_PACKET, TASK, pair, receive, to_memory
from cellwright.dataloader.workers.ring_buffer import MADE, SAMPLE

MAX_DEATHS = 3
CLOSE_WAIT_S = 5.0
_POLL_MS = 1000


class WorkerPool:
    """The workers of one loader, on the ring `ring`, for what `spec` says.

    name: function from a sample id to its path, for messages.
    """

    def __init__(self, ring, spec, workers, name):
        self._ring, self._name = ring, name
        forkserver = start_forkserver()
        self.supervisor_pid = forkserver.pid
        self._control, theirs = pair()
        pairs = [pair() for _ in range(workers)]
        self._socks = [ours for ours, _ in pairs]
        spec_fd = to_memory(spec)
        try:
            forkserver.open([theirs.fileno(), spec_fd, ring.fd, *(end.fileno() for _, end in pairs)])
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
        self._tasks = {}  # number -> (owner, worker, packet)
        self._load = [0] * workers
        self._number = 0
        self._deaths, self._made = {}, 0  # deaths by task; -1 outside of any sample

    @property
    def pids(self):
        """Process ids of the workers; waits until they are up."""
        while not self._pids:
            self.listen()
        return list(self._pids)

    @property
    def busy(self):
        """True while a task is out."""
        return bool(self._tasks)

    def give(self, owner, epoch, slot, first, end):
        """Sends the task of writing places first to end of a slot to the worker with the least to do."""
        self._number = (self._number + 1) % 2**31
        packet = TASK.pack(int(self._ring.generation[0]), epoch, slot, first, end, self._number)
        worker = self._load.index(min(self._load))
        self._load[worker] += 1
        self._tasks[self._number] = owner, worker, packet
        self._post(worker, packet)

    def _post(self, worker, packet):
        try:
            self._socks[worker].send(packet)
        except (BrokenPipeError, ConnectionResetError):
            pass  # dead; the supervisor's notice is on its way, and the task is kept

    def listen(self, wait_ms=_POLL_MS):
        """Waits up to a second for news; returns [(owner, bad files, traceback)] of the tasks that have come
        back.

        RuntimeError where workers cannot be started, or keep dying.
        """
        done = []
        for fd, _ in self._poll.poll(wait_ms):
            if fd == self._control.fileno():
                done += self._hear_supervisor()
                continue
            sock = next((sock for sock in self._socks if sock.fileno() == fd), None)
            if sock is not None:
                done += self._hear_worker(sock)
        return done

    def _hear_worker(self, sock):
        try:
            packet = sock.recv(MAX_PACKET)
        except ConnectionResetError:
            packet = b""
        if packet:
            return [self._done(packet)]
        self._poll.unregister(sock)  # dead; the supervisor will say so and bring the next one
        return []

    def _done(self, packet):
        number = TASK.unpack_from(packet)[-1]
        owner, worker, _ = self._tasks.pop(number)
        self._load[worker] -= 1
        self._deaths.pop(number, None)  # whatever killed its workers, it was none of its samples
        told = packet[TASK.size :]
        return owner, *(pickle.loads(told) if told else ((), ""))

    def _hear_supervisor(self):
        try:
            message, fds = receive(self._control)
        except EOFError:
            raise RuntimeError("the process that starts the loader's workers has ended; was it killed?") from None
        if message[0] == "started":
            self._pids = list(message[1])
            return []
        if message[0] == "failed":
            raise RuntimeError(f"the loader's workers could not be started:\n{message[1]}")
        _, index, pid, status, new_pid = message
        return self._take_over(index, pid, status, new_pid, fds[0])

    def _take_over(self, index, pid, status, new_pid, fd):
        """Worker `index` died: reads what it had finished, gives the rest to the one in its place."""
        old, done = self._socks[index], []
        old.setblocking(False)
        try:
            while packet := old.recv(MAX_PACKET):
                done.append(self._done(packet))
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
        for _, worker, packet in self._tasks.values():
            if worker == index:
                self._post(index, packet)
        return done

    def _count_death(self, index, pid, status):
        sample = int(self._ring.workers[index, SAMPLE])
        self._ring.workers[index, SAMPLE] = -1
        made = int(self._ring.workers[:, MADE].sum())
        if made != self._made:
            self._made = made
            self._deaths.pop(-1, None)  # only deaths without any work between them point to a worker that cannot start
        begun = (number for number, (_, worker, _) in self._tasks.items() if worker == index)
        task = next(begun, -1) if sample >= 0 else -1
        self._deaths[task] = self._deaths.get(task, 0) + 1
        if self._deaths[task] >= MAX_DEATHS:
            how = f"signal {-status}" if status < 0 else f"status {status}"
            where = f"on sample {sample}, {self._name(sample)}" if sample >= 0 else "outside any sample"
            raise RuntimeError(f"loader workers died {MAX_DEATHS} times {where} (last: pid {pid}, {how})")

    def close(self):
        """Ends the workers and waits until they are gone."""
        try:
            self._control.shutdown(socket.SHUT_WR)
            self._control.settimeout(CLOSE_WAIT_S)
            while self._control.recv(MAX_PACKET):  # the supervisor closes its end when the last worker has been reaped
                pass
        except OSError:
            pass
        self._control.close()
        for sock in self._socks:
            sock.close()
