"""The C side of programs: its structures, its functions and the numbers of its operations (program.h)."""

import ctypes
import functools
import os
from pathlib import Path

import mindspore

from cellwright.kernels.csrc.shim import ShimMissing, shim

REFS, INTS = 10, 12
BASE_NONE, BASE_TAPE, BASE_WORK, BASE_SCRATCH, BASE_PER_THREAD = -1, -2, -3, -4, -5
FORWARD, INPUT_GRADIENT, WEIGHT_GRADIENT = range(3)

KINDS = (
    "conv", "weight_gradient", "import", "export", "copy", "add", "statistics", "affine", "norm_reduce", "apply", "max_pool",
    "max_pool_gradient", "avg_pool", "avg_pool_gradient", "gather", "gather_gradient", "join", "join_gradient",
)  # fmt: skip
OP = {kind: number for number, kind in enumerate(KINDS)}
JOBS = (
    "reorder", "statistics", "norm", "norm_fixed", "norm_gradient", "weight_gradient", "bias_gradient", "import",
    "gather_gradient",
)  # fmt: skip
JOB = {kind: 100 + number for number, kind in enumerate(JOBS)}


class Reference(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("base", "offset", "stride", "channel")]


class Operation(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int64),
        ("r", Reference * REFS),
        ("i", ctypes.c_int64 * INTS),
        ("f", ctypes.c_double * 4),
        ("handle", ctypes.c_void_p),
    ]


Builder = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_int64] * 5)
_i64 = ctypes.POINTER(ctypes.c_int64)


@functools.lru_cache(maxsize=1)
def library():
    """The shim with oneDNN opened; ShimMissing where this machine cannot run programs."""
    _, lib = shim()
    path = Path(mindspore.__file__).parent / "lib" / "libdnnl.so.3"
    lib.cellwright_onednn_open.argtypes = [ctypes.c_char_p]
    code = lib.cellwright_onednn_open(os.fsencode(path))
    if code:
        raise ShimMissing(f"{path} cannot be used (code {code}): stock operators are used")
    if not lib.cellwright_onednn_lanes():
        raise ShimMissing("this machine has neither AVX2 nor AVX-512: stock operators are used")
    lib.cellwright_conv_create.restype = ctypes.c_void_p
    lib.cellwright_conv_create.argtypes = [ctypes.c_int, _i64, ctypes.c_int, ctypes.c_int, _i64]
    lib.cellwright_conv_implementation.restype = ctypes.c_char_p
    lib.cellwright_conv_implementation.argtypes = [ctypes.c_void_p]
    lib.cellwright_conv_weights.restype = ctypes.c_int64
    lib.cellwright_conv_weights.argtypes = [ctypes.c_void_p]
    lib.cellwright_reorder_create.restype = ctypes.c_void_p
    lib.cellwright_reorder_create.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.cellwright_program_new.restype = ctypes.c_void_p
    lib.cellwright_program_new.argtypes = [
        ctypes.c_int64, _i64, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, _i64, ctypes.c_void_p,
    ]  # fmt: skip
    lists = ctypes.POINTER(ctypes.POINTER(Operation))
    lib.cellwright_program_stage.argtypes = [
        ctypes.c_void_p, ctypes.c_int64, ctypes.POINTER(Operation), ctypes.c_int64, lists, _i64,
    ]  # fmt: skip
    lib.cellwright_program_publish.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64]
    lib.cellwright_builder.argtypes = [Builder]
    return lib


def lanes():
    """Channels of a block: 16 with AVX-512, 8 with AVX2."""
    return library().cellwright_onednn_lanes()


def integers(values):
    """The values as a C array of int64."""
    values = list(values)
    return (ctypes.c_int64 * max(1, len(values)))(*values)


def convolution(direction, shape, sizes):
    """Returns a convolution for chunks of these sizes: its handle and the floats of its weights."""
    lib = library()
    handle = lib.cellwright_conv_create(direction, integers(shape), lanes(), len(sizes), integers(sizes))
    if not handle:
        raise ShimMissing(f"oneDNN has no convolution for {shape} in direction {direction}")
    return handle, lib.cellwright_conv_weights(handle)


def reorder(handle, to_plain):
    """Returns the reorder between plain weights and the layout of this convolution."""
    made = library().cellwright_reorder_create(handle, int(to_plain))
    if not made:
        raise ShimMissing("oneDNN has no reorder for these weights")
    return made
