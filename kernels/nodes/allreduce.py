"""Sums over ranks as nodes of the graph: gradients are reduced without leaving it."""

import contextlib
import ctypes
import functools

import mindspore
import numpy as np
from mindspore import ops

from cellwright.kernels.csrc.shared_group import mpi_library, share
from cellwright.kernels.csrc.shim import shim, shim_available
from cellwright.kernels.nodes.allreduce_base import Allreduce
from cellwright.kernels.nodes.custom_op import custom_op

# MPI counts are C ints; a bucket above that goes in pieces.
_PIECE = 1 << 30


@functools.cache
def _kernel(comm, float_type, sum_operation):
    mpi_allreduce = mpi_library().MPI_Allreduce
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


class MpiAllreduce(Allreduce):
    """Returns the sums over all ranks of float32 tensors of any shapes: of one tensor a tensor, of several a tuple.

    Runs inside the graph, on CPU. Every rank must reach it with the same tensors in the same order: where a graph holds
    several, order them with `ops.depend`. Ranks of one host add up through memory that they share, in the order of the
    ranks; between hosts the ranks that own the same part add up theirs over MPI, in the order of the hosts. All ranks
    get the same bits, for any number of threads. Where memory cannot be shared, MPI_Allreduce does it; without the C
    shim, through Python.

    comm: an mpi4py communicator. `size` is its number of ranks. shared: False never uses shared memory. host: the
    communicator of those that share this rank's memory, by default those that MPI finds. `group` is the SharedGroup, or
    None. `several` is True where several tensors cost no more than one of their size, so that joining them first gains
    nothing. overlap: where ranks are on several hosts and MPI may be called by several threads, `overlaps` is True:
    `start(tensor)` then returns a tensor that will hold the sum, while the graph goes on, and `wait(sums, tensors)`
    returns the sums when all are there.

    wire_dtype: "bfloat16": `carries` is True, see Allreduce, and carried sums travel between hosts in half as many
    bytes: each host rounds what it sends and the sums that it answers for, and adds what that leaves to the next (error
    feedback: Seide et al., 2014, "1-bit stochastic gradient descent"). All ranks get the same bits; with another number
    of threads other ones. ValueError where ranks are on one host, where memory cannot be shared, and with overlap.
    """

    def __init__(self, comm, shared=True, overlap=False, host=None, wire_dtype="float32"):
        super().__init__(comm.Get_size(), comm.Get_rank())
        self.comm, self.carries = comm, wire_dtype == "bfloat16"
        self.group = share(comm, host) if shared and shim_available() else None
        self.shared = self.group is not None
        self.overlaps = overlap and self.shared and self.group.hosts > 1 and self._start_thread(comm, host)
        self.several = self.shared
        if wire_dtype not in ("float32", "bfloat16"):
            raise ValueError(f"wire_dtype = {wire_dtype!r}: must be float32 or bfloat16")
        if self.carries and overlap:
            raise ValueError("wire_dtype = 'bfloat16': sums that overlap with the backward travel as float32")
        if self.carries and not (self.shared and self.group.hosts > 1):
            why = "all ranks are on one host" if self.shared else "it needs the C shim, and memory that ranks share"
            raise ValueError(f"wire_dtype = 'bfloat16': {why}")
        if self.shared:
            self.number = mindspore.Tensor([self.group.number], mindspore.int64)
            self.allreduce = _node("cellwright_shared_allreduce", _same_after_first, _float32_after_first)
        elif shim_available():
            from mpi4py import MPI

            handles = (MPI._handleof(comm), MPI._handleof(MPI.FLOAT), MPI._handleof(MPI.SUM))
            self.allreduce = custom_op(_kernel(*handles), _same, _float32)
        else:

            def through_python(*tensors):
                results = []
                for tensor in tensors:
                    results.append(np.empty_like(tensor))
                    comm.Allreduce(np.ascontiguousarray(tensor), results[-1])
                return _same(*results)

            self.allreduce = ops.Custom(through_python, _same, _float32, func_type="pyfunc")

    def construct(self, *tensors):
        return self.allreduce(self.number, *tensors) if self.shared else self.allreduce(*tensors)

    @property
    def hosts(self):
        return self.group.hosts

    @property
    def host(self):
        return self.group.host

    @property
    def first(self):
        return self.group.first

    def carry(self, sizes):
        """Makes room for what buckets of so many numbers round off. Collective; MemoryError where there is none."""
        self.carried = self.group.carry(sum(sizes))
        if not self.comm.allreduce(int(self.carried is not None)) == self.size:
            raise MemoryError(f"wire_dtype = 'bfloat16': no {4 * sum(sizes)} bytes of memory that ranks can share")
        places = [sum(sizes[:bucket]) for bucket in range(len(sizes))]
        self.places = tuple(mindspore.Tensor([self.group.number, place], mindspore.int64) for place in places)

    def carried_sum(self, bucket, *tensors):
        return self.allreduce(self.places[bucket], *tensors)

    def _start_thread(self, comm, host):
        from mpi4py import MPI

        # A group of its own: its messages must not meet those of other nodes.
        group = share(comm, host) if MPI.Query_thread() == MPI.THREAD_MULTIPLE else None
        if group is None:
            return False
        self.late_number = mindspore.Tensor([group.number], mindspore.int64)
        self.begin = _node("cellwright_background_start", _same_after_first, _float32_after_first)
        self.end = _node("cellwright_background_wait", _one_number, _float32_first)
        self.end.add_prim_attr("side_effect_mem", True)
        self.map = ops.HyperMap()
        return True

    def start(self, tensor):
        return self.begin(self.late_number, tensor)

    def wait(self, sums, tensors):
        done = self.end(*sums, *tensors)
        return self.map(ops.partial(_after, done), sums)


def _node(function, shape, dtype):
    return ops.Custom(f"{shim()[0]}:{function}", shape, dtype, func_type="aot")


@contextlib.contextmanager
def silence():
    """Context manager: shared-memory allreduces return their own inputs, to measure a step without communication.

    To be entered and left by all ranks between two steps. Yields False where there is no shim; other allreduces go on
    as before.
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
