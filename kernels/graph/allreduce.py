"""MPI_Allreduce as a node of the graph: gradients are summed over ranks without leaving it."""

import ctypes
import functools
import re

import numpy as np
from mindspore import nn, ops
from kernels.graph.bridge import bridge_available, custom_op

# MPI counts are C ints; a bucket above that goes in pieces.
_PIECE = 1 << 30


@functools.lru_cache(maxsize=1)
def _mpi_library():
    """The MPI library that mpi4py has loaded: its own copy of the same file would not share the world."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        found = re.search(r"\s(/\S*/libmpi\.so\S*)", maps.read())
    if not found:
        raise RuntimeError("no libmpi is loaded in this process: import mpi4py.MPI first")
    return ctypes.CDLL(found.group(1))


@functools.lru_cache(maxsize=None)
def _kernel(comm, float_type, sum_operation):
    mpi_allreduce = _mpi_library().MPI_Allreduce
    # Handles are pointers in Open MPI and ints in MPICH; an int is read from the low half of the register.
    mpi_allreduce.argtypes = [ctypes.c_ssize_t, ctypes.c_ssize_t, ctypes.c_int] + [ctypes.c_ssize_t] * 3
    mpi_allreduce.restype = ctypes.c_int

    def allreduce(nparam, params, ndims, shapes, dtypes, stream, extra):
        count = 1
        for axis in range(ndims[0]):
            count *= shapes[0][axis]
        for start in range(0, count, _PIECE):
            source, target = params[0] + 4 * start, params[nparam - 1] + 4 * start
            code = mpi_allreduce(source, target, min(_PIECE, count - start), float_type, sum_operation, comm)
            if code != 0:
                return code
        return 0

    return allreduce


class MpiAllreduce(nn.Cell):
    """Returns the sum over all ranks of a float32 tensor of any shape; runs inside the graph, on CPU.

    Every rank must reach it in the same order: where a graph holds several, order them with `ops.depend`.

    comm: an mpi4py communicator. `size` is its number of ranks. Without the C shim the same sum goes through Python.
    """

    def __init__(self, comm):
        super().__init__()
        from mpi4py import MPI

        self.size = comm.Get_size()
        if bridge_available():
            handles = (MPI._handleof(comm), MPI._handleof(MPI.FLOAT), MPI._handleof(MPI.SUM))
            self.allreduce = custom_op(_kernel(*handles), lambda x: x, lambda x: x)
        else:

            def through_python(x):
                result = np.empty_like(x)
                comm.Allreduce(np.ascontiguousarray(x), result)
                return result

            self.allreduce = ops.Custom(through_python, lambda x: x, lambda x: x, func_type="pyfunc")

    def construct(self, tensor):
        return self.allreduce(tensor)
