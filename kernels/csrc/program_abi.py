"""The C side of programs: its structures, made from the table of operations, and its functions."""

import ctypes
import functools
import os

from cellwright.kernels.csrc.onednn_library import program_library
from cellwright.kernels.csrc.operations import BASES, CONVOLUTION, ERRORS, FIRST_JOB, JOBS, MOST_INPUTS, OPERATIONS
from cellwright.kernels.csrc.shim import ShimMissing, shim

BASE_NONE, BASE_SAVED, BASE_WORK, BASE_SCRATCH, BASE_PER_THREAD, BASE_KEPT = (number for _, number, _ in BASES)
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = range(3)  # of a convolution
MESSAGES = {number: text for _, number, text in ERRORS}
KINDS = {("op", kind.name): kind for kind in OPERATIONS} | {("job", kind.name): kind for kind in JOBS}
NUMBERS = {("op", kind.name): k for k, kind in enumerate(OPERATIONS)} | {
    ("job", kind.name): FIRST_JOB + k for k, kind in enumerate(JOBS)
}


class Operand(ctypes.Structure):
    """Where an operand lies: a base (or the number of a tensor of the node); the rest in floats."""

    _fields_ = [(name, ctypes.c_int64) for name in ("base", "offset", "stride", "channel")]


def _structure(name, kind):
    fields = [(operand, Operand) for operand in kind.operands]
    fields += [(number, ctypes.c_int64) for number in kind.integers]
    fields += [(number, ctypes.c_double) for number in kind.floats]
    return type(name, (ctypes.Structure,), {"_fields_": fields})


class _Arguments(ctypes.Union):
    _fields_ = [(f"{group}_{name}", _structure(name, kind)) for (group, name), kind in KINDS.items()]


class Operation(ctypes.Structure):
    """An operation or job; its arguments are the member of the union that has the group's and the kind's name."""

    _fields_ = [
        ("kind", ctypes.c_int64),
        ("continues", ctypes.c_int64),
        ("handle", ctypes.c_void_p),
        ("arguments", _Arguments),
    ]


class Convolution(ctypes.Structure):
    """What a convolution is made from."""

    _fields_ = [(name, ctypes.c_int64) for name in CONVOLUTION]


Builder = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int64, ctypes.POINTER(ctypes.c_int64))
Reporter = ctypes.CFUNCTYPE(None, ctypes.c_int)
_i64 = ctypes.POINTER(ctypes.c_int64)
_operations = ctypes.POINTER(Operation)
# Result and arguments of each function.
_FUNCTIONS = {
    "onednn_open": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_int]),
    "conv_create": (
        ctypes.c_void_p,
        [ctypes.c_int, ctypes.POINTER(Convolution), ctypes.c_int, ctypes.c_int, _i64],
    ),
    "conv_implementation": (ctypes.c_char_p, [ctypes.c_void_p]),
    "conv_weights": (ctypes.c_int64, [ctypes.c_void_p]),
    "conv_seconds": (ctypes.c_double, [ctypes.c_void_p, ctypes.c_int]),
    "conv_destroy": (None, [ctypes.c_void_p]),
    "reorder_create": (ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_int]),
    "program_new": (ctypes.c_void_p, [ctypes.c_int64, _i64, *[ctypes.c_int64] * 6, _i64]),
    "program_stage": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_int64, _operations, ctypes.c_int64, ctypes.POINTER(_operations), _i64],
    ),
    "program_publish": (ctypes.c_int, [ctypes.c_void_p, *[ctypes.c_int64] * 3]),
    "program_free": (None, [ctypes.c_void_p]),
    "operation": (ctypes.c_int, [_operations, ctypes.POINTER(ctypes.c_void_p), *[ctypes.c_int64] * 3]),
    "callbacks": (None, [Builder, Reporter]),
}


@functools.lru_cache(maxsize=1)
def library():
    """The shim with oneDNN opened; ShimMissing where this machine cannot run programs."""
    _, lib = shim()
    if [lib.cellwright_table(what) for what in (1, 2)] != [ctypes.sizeof(Operation), ctypes.sizeof(Convolution)]:
        raise ShimMissing("the C shim lays out its structures in another way: stock operators are used")
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(lib, f"cellwright_{name}")
        function.restype, function.argtypes = result, arguments
    path, own = program_library()
    code = lib.cellwright_onednn_open(os.fsencode(path), int(own))
    if code:
        raise ShimMissing(f"{path} cannot be used (code {code}): stock operators are used")
    if not lib.cellwright_onednn_lanes():
        raise ShimMissing("this machine has neither AVX2 nor AVX-512: stock operators are used")
    return lib


def lanes():
    """Channels of a block: 16 with AVX-512, 8 with AVX2."""
    return library().cellwright_onednn_lanes()


def integers(values):
    """The values as a C array of int64."""
    values = list(values)
    return (ctypes.c_int64 * max(1, len(values)))(*values)


def shape_numbers(shapes):
    """The shapes (N, C, H, W) of a node's inputs as a C array, as long for any number of inputs."""
    numbers = [number for shape in shapes for number in shape]
    return integers(numbers + [0] * (4 * MOST_INPUTS - len(numbers)))


def convolution(direction, shape, sizes):
    """Returns a convolution for chunks of these sizes: its handle and the floats of its weights.

    shape: numbers by the names of CONVOLUTION. RuntimeError if oneDNN has none.
    """
    lib = library()
    described = Convolution(*(shape[name] for name in CONVOLUTION))
    handle = lib.cellwright_conv_create(direction, ctypes.byref(described), lanes(), len(sizes), integers(sizes))
    if not handle:
        raise RuntimeError(f"oneDNN has no convolution for {shape} in direction {direction}")
    return handle, lib.cellwright_conv_weights(handle)


def implementation(direction, shape):
    """Returns the name of the loops that oneDNN runs for a convolution of one image; RuntimeError if it has none."""
    handle, _ = convolution(direction, shape, [1])
    try:
        return library().cellwright_conv_implementation(handle).decode()
    finally:
        library().cellwright_conv_destroy(handle)


def reorder(handle, to_plain):
    """Returns the reorder between plain weights and the layout of this convolution."""
    made = library().cellwright_reorder_create(handle, int(to_plain))
    if not made:
        raise RuntimeError("oneDNN has no reorder for these weights")
    return made
