"""The process from which workers are forked: it knows numpy, cv2 and numba, and has never seen MPI or
MindSpore.

It starts a loader's workers, sees each one die within a moment, starts the next in its place, and ends with
its parent.
"""

import ctypes
import gc
import os
import select
import signal
import socket
import sys
import traceback

from cellwright.dataloader.workers.messages import from_memory, pair, receive, send

_PR_SET_PDEATHSIG = 1
# Slurm sends its warning to every process of a job: a parent that is to write a checkpoint still needs its workers.
FOR_THE_PARENT = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
PARENT_CHECK_MS = 500


def die_with_parent(parent):
    """Asks the kernel to kill this process when its parent ends, and ends it where that has happened already."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


class WorkerGroup:
    """The workers of one loader, and the socket over which it hears of them."""

    def __init__(self, control, spec, ring_fd):
        self.control, self.spec, self.ring_fd = control, spec, ring_fd
        self.pids = {}  # pidfd -> (pid, worker number)

    def start(self, index, sock, strangers):
        """Forks worker `index` onto `sock`; `strangers` are descriptors that it must not keep."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            sock.close()
            pidfd = os.pidfd_open(pid)
            self.pids[pidfd] = pid, index
            return pid, pidfd
        code = 1
        try:
            die_with_parent(parent)
            for other in strangers:
                other.close()
            from cellwright.dataloader.workers.worker import work

            work(self.spec, self.ring_fd, sock, index)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def kill(self):
        """Kills and reaps all workers."""
        for pid, _ in self.pids.values():
            os.kill(pid, signal.SIGKILL)
        for pidfd, (pid, _) in self.pids.items():
            os.waitpid(pid, 0)
            os.close(pidfd)
        self.pids.clear()
        self.control.close()
        os.close(self.ring_fd)


class Supervisor:
    """Serves the loaders of one parent process over `sock` until the parent is gone."""

    def __init__(self, sock, precompile):
        self.sock, self.precompile, self.groups = sock, precompile, {}
        self.poll = select.poll()
        self.poll.register(sock, select.POLLIN)
        self.parent = os.getppid()

    def compile_ahead(self):
        """Compiles what most loaders need until the first one is opened; that one then has the rest of its own."""
        for _ in self.precompile():
            if self.poll.poll(0):
                return

    def serve(self):
        try:
            while True:
                events = self.poll.poll(PARENT_CHECK_MS)
                if os.getppid() != self.parent:
                    return
                for fd, _ in events:
                    if fd == self.sock.fileno():
                        self._open(*receive(self.sock))
                    elif fd in self.groups:
                        self._close(fd)
                    else:
                        self._replace(fd)
        except EOFError:
            pass
        finally:
            for group in self.groups.values():
                group.kill()

    def _strangers(self):
        return [self.sock, *(group.control for group in self.groups.values())]

    def _open(self, message, fds):
        control, spec_fd, ring_fd, *ends = fds
        control = socket.socket(fileno=control)
        ends = [socket.socket(fileno=end) for end in ends]
        try:
            spec = from_memory(spec_fd)
            spec.source.prepare()
            for _ in self.precompile(spec.source, spec.transform, spec.normalise):
                pass
            gc.collect()
            gc.freeze()  # keeps the collector from touching, and so copying, pages shared with the workers
        except Exception:
            send(control, ("failed", traceback.format_exc()[-30000:]))
            control.close()
            os.close(ring_fd)
            for end in ends:
                end.close()
            return
        group = WorkerGroup(control, spec, ring_fd)
        self.groups[control.fileno()] = group
        self.poll.register(control, select.POLLIN)
        pids = []
        while ends:
            end = ends.pop(0)
            pid, pidfd = group.start(len(pids), end, [*self._strangers(), *ends])
            self.poll.register(pidfd, select.POLLIN)
            pids.append(pid)
        self._tell(group, ("started", pids))

    def _close(self, fd):
        group = self.groups.pop(fd)
        self.poll.unregister(fd)
        for pidfd in group.pids:
            self.poll.unregister(pidfd)
        group.kill()

    def _replace(self, pidfd):
        group = next((group for group in self.groups.values() if pidfd in group.pids), None)
        if group is None:
            return
        self.poll.unregister(pidfd)
        pid, index = group.pids.pop(pidfd)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        os.close(pidfd)
        ours, theirs = pair()
        new_pid, new_pidfd = group.start(index, ours, [*self._strangers(), theirs])
        self.poll.register(new_pidfd, select.POLLIN)
        self._tell(group, ("died", index, pid, status, new_pid), [theirs.fileno()])
        theirs.close()

    def _tell(self, group, message, fds=()):
        try:
            send(group.control, message, fds)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the loader is closing; its end of file is already on the way


def main(fd, precompile):
    """The whole life of the process: compile what workers call, serve, end with the parent.

    precompile: as of that module.
    """
    for number in FOR_THE_PARENT:
        signal.signal(number, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(0)
    sock = socket.socket(fileno=fd)
    supervisor = Supervisor(sock, precompile)
    supervisor.compile_ahead()
    supervisor.serve()
    os._exit(0)
