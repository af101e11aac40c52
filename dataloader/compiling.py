"""Compiling kernels: one process of a host does, the others find them in numba's cache, and a line says so."""

import fcntl
import os
import sys
import time
from contextlib import contextmanager

from numba.core import event

from cellwright.kernels import image

TOLD_AFTER_S = 1.0
LOCK_WAIT_S = 120.0


class _Compilation(event.Listener):
    """Hears of each kernel that numba's cache does not have."""

    def __init__(self, folder):
        self._folder, self._lock, self._began, self._told = folder, None, None, False

    def on_start(self, event):
        if self._began is None:
            # Whoever waits here compiles this one kernel again and finds the rest in the cache.
            self._lock = _locked(self._folder)
            self._began = time.monotonic()
        elif not self._told and time.monotonic() - self._began > TOLD_AFTER_S:
            self._told = True
            _say("dataloader: compiling its kernels for this machine, once")

    def on_end(self, event):
        pass

    def close(self):
        if self._lock is not None:
            os.close(self._lock)
        if self._told:
            _say(f"dataloader: compiled them in {time.monotonic() - self._began:.0f} s; the next start finds them")


def _say(line):
    print(line, file=sys.stderr, flush=True)


def _locked(folder):
    """Returns a descriptor that holds the lock of `folder`; None where there is none to be had."""
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    end = time.monotonic() + LOCK_WAIT_S
    while time.monotonic() < end:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            time.sleep(0.05)
        except OSError:  # a file system without locks
            break
    os.close(lock)
    return None


@contextmanager
def compiling(folder=image.__path__[0]):
    """Context manager: what is compiled inside is compiled by one process at a time, and told if it takes long.

    folder: whose lock the processes share; nothing is written to it.
    """
    compilation = _Compilation(folder)
    try:
        with event.install_listener("numba:compile", compilation):
            yield
    finally:
        compilation.close()
