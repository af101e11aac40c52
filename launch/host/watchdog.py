"""Ends a rank that makes no step for too long, so that a hang in a collective ends the whole job."""

import contextlib
import os
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

_SILENT = 5.0  # seconds: a host whose cores are busy may skip a beat or two
_LAUNCHERS = ("mpirun", "prterun", "prted")
HANG_EXIT_CODE = 75  # EX_TEMPFAIL: the same command may well succeed


class Watchdog:
    """Calls `hung(text, gone)` and ends this process where no `beat` came for `timeout` seconds. Starts with the first
    beat.

    text: how long it has hung, and where the main thread stands. gone: whether another host is gone. heartbeat: the
    Heartbeat that knows.
    """

    def __init__(self, timeout, hung, heartbeat=None, leave=os._exit):
        self.timeout, self._hung, self._heartbeat, self._leave = timeout, hung, heartbeat, leave
        self._last, self._closed = None, threading.Event()
        self._main = threading.main_thread().ident
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def beat(self):
        """To be called whenever the run has got a step further."""
        self._last = time.monotonic()

    def close(self):
        """Ends the watch."""
        self._closed.set()

    def _watch(self):
        while not self._closed.wait(min(1.0, self.timeout / 4)):
            if self._last is not None and time.monotonic() - self._last > self.timeout:
                where = "".join(traceback.format_stack(sys._current_frames()[self._main]))
                gone = self._gone()
                self._hung(
                    f"no step for {self.timeout:g} s (--timeout){gone}; this rank stands in\n{where}", bool(gone)
                )
                if gone:
                    _end_launcher()
                self._leave(HANG_EXIT_CODE)
                return

    def _gone(self):
        """What to say of hosts that are no longer heard, or "". One that hangs itself is heard until it leaves."""
        silent = self._heartbeat.silent(min(_SILENT, self.timeout / 2)) if self._heartbeat else {}
        told = (f"host {name} is gone, nothing was heard of it for {seconds:.0f} s" for name, seconds in silent.items())
        return "".join(f": {text}" if k == 0 else f", {text}" for k, text in enumerate(told))


def _end_launcher():
    """Ends the mpirun of this rank, which would wait minutes for a host that is gone.

    By a process of its own: at the first signal mpirun kills its ranks, and goes on to wait. The other ranks of this
    host have time before it to say where they stand.
    """
    launcher = os.getppid()
    with contextlib.suppress(OSError):
        if Path(f"/proc/{launcher}/comm").read_text().strip() in _LAUNCHERS:
            ends = f"sleep 2; kill -TERM {launcher}; sleep 2; kill -KILL {launcher}"
            subprocess.Popen(["sh", "-c", ends], start_new_session=True, stdin=subprocess.DEVNULL)
