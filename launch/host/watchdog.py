"""Ends a rank that makes no step for too long, so that a hang in a collective ends the whole job."""

import os
import sys
import threading
import time
import traceback

HANG_EXIT_CODE = 75  # EX_TEMPFAIL: the same command may well succeed


class Watchdog:
    """Calls `hung(text)` and ends this process where no `beat` came for `timeout` seconds. Starts with the first beat.

    text: how long it has hung, and where the main thread stands.
    """

    def __init__(self, timeout, hung, leave=os._exit):
        self.timeout, self._hung, self._leave = timeout, hung, leave
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
                self._hung(f"no step for {self.timeout:g} s (--timeout); this rank stands in\n{where}")
                self._leave(HANG_EXIT_CODE)
                return
