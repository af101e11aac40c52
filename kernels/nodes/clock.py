"""When each operation of a program and each node of ours began and ended, and what it was."""

import ctypes
import math
from typing import NamedTuple

import numpy as np

from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.csrc.shim import shim
from cellwright.kernels.nodes import custom_op as bridge
from cellwright.kernels.nodes.program import plans

EVENT = np.dtype(
    [(name, np.int64) for name in ("begin", "end", "what", "size")]
    + [(name, np.int32) for name in ("stage", "list", "index", "thread")]
)
ROOM = 1 << 18  # events between two calls of take: 12 MiB; a DenseNet-121 step has some 20,000
ALLREDUCE, MOMENTUM, ALL_FINITE, SLOT = 1, 2, 3, 256  # clock.h
_DIRECTIONS = ("evaluation", "forward", "backward")
_WEIGHT_KINDS = ("weight_gradient", "bias_gradient", "norm_gradient", "norm_reduce", "gather_gradient")


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
    fixed = {ALLREDUCE: "allreduce", MOMENTUM: "momentum", ALL_FINITE: "all_finite"}
    if what in fixed:
        return fixed[what]
    if SLOT <= what < SLOT + 256:
        found = [identity for identity, (slot, _) in bridge._bound.items() if slot == what - SLOT]
        return found[0].split(" ")[0] if found else f"slot {what - SLOT}"
    return None


def program_plan(what):
    """Returns (phase, shape of the input, {(stage, list, index): Operation}) of a program, or None for another node."""
    if what not in plans:
        return None
    direction, shape, stages = plans[what]
    phase = _DIRECTIONS[min(direction, 2)]
    return phase, shape, dict(_operations(stages, phase, direction == 2))


def _operations(stages, phase, input_only):
    for number, (_, operations, jobs) in enumerate(stages):
        for list_number, entries in enumerate((operations, *jobs)):
            for index, entry in enumerate(entries):
                yield (number, list_number, index), _describe(entry, phase, input_only)


def _describe(entry, phase, input_only):
    job = entry.kind >= 100
    kind = native.JOBS[entry.kind - 100] if job else native.KINDS[entry.kind]
    direction = "forward"
    if phase == "backward":
        direction = "weight gradient" if kind in _WEIGHT_KINDS and not input_only else "input gradient"
    if kind == "conv" and direction != "forward":
        kind = "conv_input_gradient"
    if job:
        floats = entry.ints[0] if kind in ("reorder", "weight_gradient", "gather_gradient") else sum(entry.ints[:1])
        return Operation(f"{kind} (job)", entry.layer, phase, direction, 0.0, 0.0, 8.0 * floats)
    return Operation(kind, entry.layer, phase, direction, *_cost(kind, entry))


# Arrays of an image that an operation reads and writes, and its floating-point operations for each number of the
# first one.
_PASSES = {
    "copy": (2, 0), "add": (3, 1), "statistics": (1, 3), "affine": (2, 3), "norm_reduce": (3, 7), "apply": (3, 8), "import": (2, 0),
    "export": (2, 0), "gather": (1, 2), "gather_gradient": (2, 2), "join": (3, 2), "join_gradient": (3, 2),
}  # fmt: skip


def _cost(kind, entry):
    """Returns (FLOPs and bytes for an image, bytes for a run): what the operation must read and write, wherever it
    lies."""
    if entry.convolution:
        channels, height, width, filters, window, *_ = shape = entry.convolution[1]
        out = (shape[8] >> 32) * ((shape[8] >> 1) & 0x7FFFFFFF)
        weights = channels * filters * window * window
        return 2.0 * weights * out, 4.0 * (channels * height * width + filters * out), 4.0 * weights
    ints, lanes = entry.ints, native.lanes()
    if "pool" in kind:
        source, target = (ints[0] * lanes * math.prod(ints[k : k + 2]) for k in (1, 3))
        arrays = 2 if kind == "max_pool_gradient" else 1
        return float(ints[5] ** 2 * target), 4.0 * arrays * (source + target), 0.0
    floats = ints[0] if kind in ("copy", "add") else ints[0] * ints[1] * (1 if kind in ("import", "export") else lanes)
    passes, flops = _PASSES[kind]
    return float(flops * floats), 4.0 * passes * floats, 0.0


def multiply_adds(rounds):
    """Runs so many rounds of multiply-adds from registers on the team's threads; returns their FLOPs, 0 if this
    cannot be done."""
    library = shim()[1]
    library.cellwright_peak.argtypes = [ctypes.c_int64]
    library.cellwright_peak.restype = ctypes.c_double
    return library.cellwright_peak(rounds)
