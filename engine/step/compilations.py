"""The watch over a step's compilations: which calls had to compile, how long that took, and what was new about them."""

import contextlib
import logging
import time
from typing import NamedTuple

_log = logging.getLogger("cellwright")


class Compilation(NamedTuple):
    """A call that had to compile: seconds, the first step included, and what was new about its arguments."""

    seconds: float
    changed: str


def compile_in_turn(in_turn, graph, *arguments):
    """Compiles a graph for arguments, if any, inside a context manager that in_turn returns; None: not before it runs.

    In PyNative mode a graph that is compiled apart from its first run is compiled twice.
    """
    if in_turn is not None:
        with in_turn():
            if arguments:
                graph.compile(*arguments)


class CompilationWatch:
    """Knows the calls of one graph by their signatures: (*descriptions of arguments, (freezing, overlap)), see
    `nested_batch.describe`. found: the Compilations so far.
    """

    def __init__(self):
        self.found: list = []
        self._told, self._last, self._signatures = 0, None, set()

    def knows(self, signature):
        """Whether a call of this signature was compiled before; the next one is compared with it."""
        known = signature in self._signatures
        if known:
            self._last = signature
        return known

    @contextlib.contextmanager
    def compiling(self, signature):
        """Context manager around the first call of a signature; from the second Compilation on the log tells why."""
        began = time.perf_counter()
        yield
        changed = _difference(self._last, signature)
        self._signatures.add(signature)
        self._last = signature
        self.found.append(Compilation(time.perf_counter() - began, changed))
        if len(self.found) > 1 and not changed.startswith("overlap"):
            _log.warning("the train step was compiled again in %.1f s: %s", *self.found[-1])

    def new(self):
        """Returns the Compilations since the last call of this method."""
        new, self._told = self.found[self._told :], len(self.found)
        return new


def _difference(old, new):
    """Returns in words what differs between two calls' signatures."""
    if old is None:
        return "first step"
    *old, (_, overlapped) = old
    *new, (_, overlaps) = new
    before = {name: rest for name, *rest in old}
    parts = []
    for name, shape, dtype in new:
        was = before.pop(name, None)
        if was is None:
            parts.append(f"{name} {dtype}{list(shape)} is new")
        elif was != [shape, dtype]:
            parts.append(f"{name} {was[1]}{list(was[0])} -> {dtype}{list(shape)}")
    parts += [f"{name} is gone" for name in before]
    if overlapped != overlaps:
        parts.append(f"overlap {'on' if overlaps else 'off'}")
    return ", ".join(parts) or "layers were frozen or thawed"
