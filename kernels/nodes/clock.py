"""When each operation of a program and each node of ours began and ended, and what it was."""

import ctypes
from typing import NamedTuple

import numpy as np

from cellwright.kernels.csrc.shim import shim
from cellwright.kernels.nodes import custom_op
from cellwright.kernels.nodes.program import plans

EVENT = np.dtype(
    [(name, np.int64) for name in ("begin", "end", "what", "size")]
    + [(name, np.int32) for name in ("stage", "list", "index", "thread")]
)
ROOM = 1 << 18  # events between two calls of take: 12 MiB; a DenseNet-121 step has some 20,000
# clock.h
NODES = {1: "allreduce", 2: "momentum", 3: "all_finite", 4: "adamw", 5: "sums and momentum", 6: "sums and adamw"}
SLOT = 256


class Operation(NamedTuple):
    """What an operation of a program is. flops and bytes are for one image, run_bytes once for each run of it.

    phase: forward, backward or evaluation; direction: forward, input gradient or weight gradient.
    """

    kind: str
    layer: str
    phase: str
    direction: str
    flops: float
    bytes: float
    run_bytes: float


class Clock:
    """Context manager: inside, programs and nodes of ours note their times; `take` returns what was noted since its
    last call."""

    def __init__(self, room=ROOM):
        self.room, self.lost = room, 0

    def __enter__(self):
        self.library = shim()[1]
        self.library.cellwright_clock.argtypes = [ctypes.c_int64]
        self.library.cellwright_clock_take.argtypes = [ctypes.c_void_p, ctypes.c_int64]
        self.library.cellwright_clock_take.restype = ctypes.c_int64
        if self.library.cellwright_clock(self.room):
            raise MemoryError(f"the clock's {self.room * EVENT.itemsize >> 20} MiB")
        self._target = np.empty(self.room, EVENT)
        return self

    def __exit__(self, *_):
        self.library.cellwright_clock(0)

    def take(self):
        """Returns the events, an array of EVENT; times in ns of time.perf_counter. Not to be called while a graph
        runs."""
        found = self.library.cellwright_clock_take(self._target.ctypes.data, self.room)
        self.lost += max(0, found - self.room)
        return self._target[: min(found, self.room)].copy()


def node_name(what):
    """Returns the name of a node that is no program, by the `what` of its event; None for a program."""
    if what in NODES:
        return NODES[what]
    if SLOT <= what < SLOT + 256:
        found = [identity for identity, (slot, _) in custom_op._bound.items() if slot == what - SLOT]
        return found[0].split(" ")[0] if found else f"slot {what - SLOT}"
    return None


def program_plan(what):
    """Returns (phase, shape of the input, {(stage, list, index): Operation}) of a program, or None for another node."""
    if what not in plans:
        return None
    phase, shape, operations = plans[what]
    return phase, shape, operations()


def multiply_adds(rounds):
    """Runs so many rounds of multiply-adds from registers on the team's threads; returns their FLOPs, 0 if this
    cannot be done."""
    library = shim()[1]
    library.cellwright_peak.argtypes = [ctypes.c_int64]
    library.cellwright_peak.restype = ctypes.c_double
    return library.cellwright_peak(rounds)
