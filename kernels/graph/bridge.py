"""Runs numba functions as nodes of a compiled MindSpore graph, through the C shim beside this file."""

import ctypes
import functools
import os
import sysconfig
from pathlib import Path

from mindspore import ops
from numba import cfunc, types
from numba.extending import intrinsic

# int f(int nparam, void **params, int *ndims, int64_t **shapes, const char **dtypes, void *stream, void *extra)
SIGNATURE = types.int32(
    types.int32,
    types.CPointer(types.intp),
    types.CPointer(types.int32),
    types.CPointer(types.CPointer(types.int64)),
    types.voidptr,
    types.voidptr,
    types.voidptr,
)
_bound = {}


@intrinsic
def pointer(typing_context, address):
    """The address, an integer as a kernel finds it in `params`, as a pointer for `numba.carray`."""

    def generate(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

    return types.voidptr(types.intp), generate


class BridgeMissing(RuntimeError):
    """Raised where a graph kernel is asked for and the C shim was not built."""


@functools.lru_cache(maxsize=1)
def shim():
    path = Path(__file__).with_name("_shim" + sysconfig.get_config_var("EXT_SUFFIX"))
    if not path.exists():
        raise BridgeMissing(
            f"{path.name} was not built: install gcc, then reinstall cellwright; until then stock operators are used"
        )
    library = ctypes.CDLL(str(path))
    library.cellwright_threads(default_threads())
    return path, library


def default_threads():
    """The cores that this process may use, or OMP_NUM_THREADS where that is less."""
    cores = len(os.sched_getaffinity(0))
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, int(wanted)) if wanted.isdigit() and int(wanted) else cores


def set_threads(threads):
    """Sets the size of the team of threads, until the first node of a program runs; returns the size in force."""
    return shim()[1].cellwright_threads(threads)


def bridge_available():
    """True if the C shim was built, so that numba kernels can run inside a graph."""
    try:
        shim()
    except BridgeMissing:
        return False
    return True


def custom_op(kernel, out_shape, out_dtype):
    """The MindSpore operator that runs `kernel` as a graph node on CPU.

    kernel: a Python function that numba compiles with `SIGNATURE`: `params` holds the addresses of the inputs, then of the
    outputs; a non-zero result ends the graph with an error. out_shape, out_dtype: functions of the inputs' shapes and
    dtypes, as `mindspore.ops.Custom` takes them. The same function object is compiled and bound once per process.
    """
    path, library = shim()
    if kernel not in _bound:
        slot = len(_bound)
        compiled = cfunc(SIGNATURE)(kernel)
        library.cellwright_bind.argtypes = [ctypes.c_int, ctypes.c_void_p]
        if library.cellwright_bind(slot, compiled.address):
            raise BridgeMissing(f"all {library.cellwright_slots()} kernel slots are taken")
        _bound[kernel] = (slot, compiled)
    slot = _bound[kernel][0]
    return ops.Custom(f"{path}:cellwright_slot_{slot:02x}", out_shape, out_dtype, func_type="aot")
