"""Runs numba functions as nodes of a compiled MindSpore graph, through the C shim."""

import ctypes
import zlib

from mindspore import ops
from numba import cfunc, types
from numba.extending import intrinsic

from cellwright.kernels.csrc.shim import ShimMissing, shim

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


@intrinsic
def address(typing_context, reference):
    """The number in a pointer, such as the thread's in `stream`."""

    def generate(context, builder, signature, arguments):
        return builder.ptrtoint(arguments[0], context.get_value_type(signature.return_type))

    return types.intp(types.voidptr), generate


def bind(identity, compiled, split=False):
    """Returns the library and symbol, as `ops.Custom` takes them, through which a numba cfunc of SIGNATURE is called.

    identity: a string that stands for the kernel in this and in later processes; a graph that MindSpore has cached
    names the symbol, so the same kernel gets the same one wherever it can. split: every thread of the team calls it,
    with the thread's number and the count of threads in place of `stream` and `extra`; else it is called once, with 0
    and 1.
    """
    path, library = shim()
    if identity not in _bound:
        library.cellwright_bind.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        slots = library.cellwright_slots()
        first = zlib.crc32(identity.encode()) % slots
        for slot in (*range(first, slots), *range(first)):
            if library.cellwright_bind(slot, compiled.address, int(split)) == 0:
                break
        else:
            raise ShimMissing(f"all {slots} kernel slots are taken")
        _bound[identity] = (slot, compiled)
    return f"{path}:cellwright_slot_{_bound[identity][0]:02x}"


def custom_op(kernel, out_shape, out_dtype):
    """The MindSpore operator that runs `kernel`, a function that numba compiles with SIGNATURE, as a node on CPU.

    `params` holds the addresses of the inputs, then of the outputs; a result that is not 0 ends the graph with an
    error. out_shape, out_dtype: functions of the inputs' shapes and dtypes, as `mindspore.ops.Custom` takes them.
    """
    identity = f"{kernel.__module__}.{kernel.__qualname__}"
    if identity in _bound and _bound[identity][1].py_function is not kernel:
        identity += f" {id(kernel)}"
    compiled = _bound[identity][1] if identity in _bound else _Compiled(kernel, cfunc(SIGNATURE)(kernel))
    return ops.Custom(bind(identity, compiled), out_shape, out_dtype, func_type="aot")


class _Compiled:
    """A cfunc and the function that it was made from."""

    def __init__(self, py_function, compiled):
        self.py_function, self.compiled, self.address = py_function, compiled, compiled.address
