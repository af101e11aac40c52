"""Signals that end a run with a checkpoint: Ctrl-C, and what cluster managers and launch.run send before they kill."""

import os
import signal
import threading

STOPPED_EXIT_CODE = 85  # asks to be started again, as some cluster managers understand it
INTERRUPTED_EXIT_CODE = 130
_ASK = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class StoppingOnSignals:
    """Context manager: inside, SIGINT, SIGTERM and SIGUSR1 call `ask()`, once; `by_hand` tells whether it was Ctrl-C.

    A second Ctrl-C ends this process at once, exit code 130. A thread listens, so that both are answered while the main
    thread is deep inside a compilation of MindSpore, where Python's own handlers would have to wait.
    """

    def __init__(self, ask, say=print, leave=os._exit):
        self.asked = self.by_hand = False
        self._ask, self._say, self._leave = ask, say, leave

    def __enter__(self):
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        asking = [number for number in _ASK if signal.getsignal(number) != signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, _nothing) for number in asking}
        self._descriptor = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._listen, args=(self._reader,), name="signals", daemon=True).start()
        return self

    def __exit__(self, *_):
        signal.set_wakeup_fd(self._descriptor)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        os.close(self._writer)

    def _listen(self, reader):
        while received := os.read(reader, 1):
            number = received[0]
            # While a graph is compiled or runs, MindSpore takes SIGINT and makes a SIGTERM of it.
            by_hand = number == signal.SIGINT or (number == signal.SIGTERM and at_a_terminal())
            if by_hand and self.by_hand:
                self._leave(INTERRUPTED_EXIT_CODE)
            elif number in _ASK and not self.asked:
                self.asked, self.by_hand = True, by_hand
                self._ask()
                if by_hand:
                    self._say("\nending with a checkpoint after the step in progress; Ctrl-C again ends at once")
        os.close(reader)


def at_a_terminal():
    """Returns whether this process runs in the foreground of a terminal, where Ctrl-C reaches it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def _nothing(number, frame):
    """A handler must be there for the signal's number to be written to the wake-up descriptor."""
