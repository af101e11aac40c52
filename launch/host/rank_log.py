"""Where each rank writes: rank 0 to the console and its log, the others to their logs alone."""

import array
import fcntl
import os
import stat
import sys
import termios
import time

_READ_WITHIN_S = 2.0


class RankLog:
    """The log file of one rank, RUN/logs/rank_<r>.log.

    Until `open` is called the ranks above 0 are silent. What fails is told on the console by the first rank that fails;
    the ranks that fail because of it write to their logs alone.
    """

    def __init__(self, rank):
        self.rank, self.path = rank, None
        self._console = os.fdopen(os.dup(2), "w")
        if rank:
            sys.stdout = sys.stderr = open(os.devnull, "w")

    def open(self, folder):
        """Goes on in the logs of the run folder `folder`."""
        self.path = folder / "logs" / f"rank_{self.rank}.log"
        file = open(self.path, "a", buffering=1, encoding="utf-8")
        if self.rank:
            # The descriptors too: what the libraries beneath Python write belongs there as well.
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.stdout = sys.stderr = file
        else:
            self._first_failure().unlink(missing_ok=True)
            sys.stdout, sys.stderr = Tee(sys.stdout, file), Tee(sys.stderr, file)

    def failed(self, text, cut_off=False):
        """Writes what went wrong to the log, and to the console if no other rank has failed before.

        cut_off: another host is gone, which may have failed first and not have reached the console.
        """
        if self.path is None:
            self._console.write(text)
        else:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(text)
            try:
                self._first_failure().touch(exist_ok=cut_off)
                self._console.write(f"{text}log of this rank: {self.path}\n")
            except FileExistsError:
                pass
        self._console.flush()
        _wait_until_read(self._console.fileno())

    def _first_failure(self):
        return self.path.with_name(".first_failure")


def _wait_until_read(descriptor):
    """Waits until a launcher has read what was written to its pipe: MPICH's throws away the rest when a
    rank aborts, as was seen on a busy machine.
    """
    until, unread = time.monotonic() + _READ_WITHIN_S, array.array("i", [1])
    while stat.S_ISFIFO(os.fstat(descriptor).st_mode) and unread[0] and time.monotonic() < until:
        fcntl.ioctl(descriptor, termios.FIONREAD, unread)
        time.sleep(0.01)


class Tee:
    """A text stream that writes to two; it has the terminal, the descriptor and the encoding of the first."""

    def __init__(self, first, second):
        self._first, self._second = first, second

    def write(self, text):
        self._second.write(text)
        return self._first.write(text)

    def flush(self):
        self._first.flush()
        self._second.flush()

    def __getattr__(self, name):
        return getattr(self._first, name)
