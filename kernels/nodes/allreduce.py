"""Sums over ranks as nodes of the graph: gradients are reduced without leaving it."""

import contextlib
import ctypes
import functools
import mmap
import os
import re

import mindspore
import numpy as np
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim, shim_available
from cellwright.kernels.nodes.custom_op import custom_op

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


@functools.cache
def _kernel(comm, float_type, sum_operation):
    mpi_allreduce = _mpi_library().MPI_Allreduce
    # Handles are pointers in Open MPI and ints in MPICH; an int is read from the low half of the register.
    mpi_allreduce.argtypes = [ctypes.c_ssize_t, ctypes.c_ssize_t, ctypes.c_int] + [ctypes.c_ssize_t] * 3
    mpi_allreduce.restype = ctypes.c_int

    def allreduce(nparam, params, ndims, shapes, dtypes, stream, extra):
        tensors = nparam // 2
        for k in range(tensors):
            count = 1
            for axis in range(ndims[k]):
                count *= shapes[k][axis]
            for start in range(0, count, _PIECE):
                source, target = params[k] + 4 * start, params[tensors + k] + 4 * start
                code = mpi_allreduce(source, target, min(_PIECE, count - start), float_type, sum_operation, comm)
                if code != 0:
                    return code
        return 0

    return allreduce


def _background_sum(*handles):
    """Returns the number by which the thread of kernels/csrc/background.c knows this sum, or -1."""
    library, mpi = shim()[1], _mpi_library()
    library.cellwright_background_sum.argtypes = [ctypes.c_void_p] + [ctypes.c_ssize_t] * 3
    return library.cellwright_background_sum(ctypes.cast(mpi.MPI_Allreduce, ctypes.c_void_p), *handles)


def _same(*values):
    return values[0] if len(values) == 1 else values


def _same_after_first(*values):
    return _same(*values[1:])


def _float32(*dtypes):
    if any("Float32" not in str(dtype) for dtype in dtypes):
        raise TypeError(f"allreduce of {dtypes[0]}: only float32 is summed")
    return _same(*dtypes)


def _float32_after_first(*dtypes):
    return _float32(*dtypes[1:])


def _one_number(*shapes):
    return [1]


def _float32_first(*dtypes):
    return dtypes[0]


def _after(done, tensor):
    return ops.depend(tensor, done)


class MpiAllreduce(nn.Cell):
    """Returns the sums over all ranks of float32 tensors of any shapes: of one tensor a tensor, of several a tuple.

    Runs inside the graph, on CPU. Every rank must reach it with the same tensors in the same order: where a graph holds
    several, order them with `ops.depend`. Ranks of one host add up through memory that they share; where ranks are on
    several hosts, MPI_Allreduce does it. Without the C shim it goes through Python.

    comm: an mpi4py communicator. `size` is its number of ranks. shared: False never uses shared memory. `several` is True where
    several tensors cost no more than one of their size, so that joining them first gains nothing. overlap: where ranks are on
    several hosts and MPI may be called by several threads, `overlaps` is True: `start(tensor)` then returns a tensor that will
    hold the sum, while the graph goes on, and `wait(sums, tensors)` returns the sums when all are there.
    """

    def __init__(self, comm, shared=True, overlap=False):
        super().__init__()
        self.size = comm.Get_size()
        group = share(comm) if shared and shim_available() else None
        self.shared = self.several = group is not None
        self.overlaps = False
        if self.shared:
            self.group = mindspore.Tensor([group], mindspore.int64)
            self.allreduce = ops.Custom(
                f"{shim()[0]}:cellwright_shared_allreduce", _same_after_first, _float32_after_first, func_type="aot"
            )
        elif shim_available():
            from mpi4py import MPI

            handles = (MPI._handleof(comm), MPI._handleof(MPI.FLOAT), MPI._handleof(MPI.SUM))
            self.allreduce = custom_op(_kernel(*handles), _same, _float32)
            if overlap and MPI.Query_thread() == MPI.THREAD_MULTIPLE:
                self._start_thread(comm.Dup(), *handles[1:])  # its messages must not meet those of other nodes
        else:

            def through_python(*tensors):
                results = []
                for tensor in tensors:
                    results.append(np.empty_like(tensor))
                    comm.Allreduce(np.ascontiguousarray(tensor), results[-1])
                return _same(*results)

            self.allreduce = ops.Custom(through_python, _same, _float32, func_type="pyfunc")

    def construct(self, *tensors):
        return self.allreduce(self.group, *tensors) if self.shared else self.allreduce(*tensors)

    def _start_thread(self, comm, *types):
        from mpi4py import MPI

        _kept.append(comm)
        number = _background_sum(*types, MPI._handleof(comm))
        self.overlaps = number >= 0
        self.number = mindspore.Tensor([number], mindspore.int64)
        path = shim()[0]
        self.begin = ops.Custom(
            f"{path}:cellwright_background_start", _same_after_first, _float32_after_first, func_type="aot"
        )
        self.end = ops.Custom(f"{path}:cellwright_background_wait", _one_number, _float32_first, func_type="aot")
        self.end.add_prim_attr("side_effect_mem", True)
        self.map = ops.HyperMap()

    def start(self, tensor):
        return self.begin(self.number, tensor)

    def wait(self, sums, tensors):
        done = self.end(*sums, *tensors)
        return self.map(ops.partial(_after, done), sums)


@contextlib.contextmanager
def silence():
    """Context manager: shared-memory allreduces return their own inputs, to measure a step without communication.

    To be entered and left by all ranks between two steps. Yields False where there is no shim; other allreduces go on as before.
    """
    if not shim_available():
        yield False
        return
    library = shim()[1]
    library.cellwright_shared_silence(1)
    try:
        yield True
    finally:
        library.cellwright_shared_silence(0)


def share(comm):
    """Returns the number of a new group of ranks that share memory, or None where they cannot. Collective.

    The memory has no name: rank 0 holds it by a file descriptor that the others open, so nothing is left behind by ranks
    that are killed.
    """
    from mpi4py import MPI

    host = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.Get_rank())
    together = host.Get_size() == comm.Get_size() > 1
    host.Free()
    if not together:
        return None
    library = shim()[1]
    library.cellwright_shared_bytes.restype = ctypes.c_int64
    library.cellwright_shared_join.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int]
    size, rank, ranks = library.cellwright_shared_bytes(comm.Get_size()), comm.Get_rank(), comm.Get_size()
    descriptor = memory = None
    try:
        if rank == 0:
            descriptor = os.memfd_create("cellwright-allreduce")
            os.ftruncate(descriptor, size)
    except OSError:
        pass
    path = comm.bcast(f"/proc/{os.getpid()}/fd/{descriptor}" if descriptor is not None else None)
    try:
        if descriptor is None and path is not None:
            descriptor = os.open(path, os.O_RDWR)
        memory = mmap.mmap(descriptor, size) if descriptor is not None else None
    except OSError:
        pass
    everywhere = comm.allreduce(int(memory is not None), MPI.MIN)
    if descriptor is not None:
        os.close(descriptor)
    if not everywhere:
        return None
    group = library.cellwright_shared_join(ctypes.addressof(ctypes.c_char.from_buffer(memory)), rank, ranks)
    _kept.append(memory)
    return group if comm.allreduce(group, MPI.MIN) >= 0 else None


_kept = []  # for as long as the process lives: a node may still be running
