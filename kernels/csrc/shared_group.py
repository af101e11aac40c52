"""Ranks that sum through memory that they share, and between hosts through those that own a part."""

import ctypes
import functools
import mmap
import os
import re
from dataclasses import dataclass, field

import numpy as np

from cellwright.kernels.csrc.shim import set_threads, shim

_kept = []  # memory and communicators, for as long as the process lives: a node may still be running


@functools.lru_cache(maxsize=1)
def mpi_library():
    """Returns the MPI library that mpi4py has loaded: its own copy of the same file would not share the world."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        found = re.search(r"\s(/\S*/libmpi\.so\S*)", maps.read())
    if not found:
        raise RuntimeError("no libmpi is loaded in this process: import mpi4py.MPI first")
    return ctypes.CDLL(found.group(1))


@dataclass(frozen=True)
class Moved:
    """Bytes that a rank has moved for its sums: of its tensors and their sums, and through the shared memory."""

    read: int
    written: int
    shared_read: int
    shared_written: int


@dataclass(frozen=True)
class SharedGroup:
    """A group as the C side knows it.

    number: its number there. hosts: how many there are. owners: ranks of each host that add up a part. channels:
    threads of each rank that take part. host: the number of this rank's host. first: whether this rank is its first.
    comm: the communicator of its ranks.
    """

    number: int
    hosts: int
    owners: int
    channels: int
    host: int
    first: bool
    comm: object = field(repr=False, compare=False)

    def carry(self, numbers):
        """Lets sums travel between hosts as bfloat16 and returns what that rounds off, a float32 array of so many
        numbers, all zero, in memory that the ranks of a host share; None where it can't be had. Collective.
        """
        from mpi4py import MPI

        memory = _shared_memory(self.comm, max(4, 4 * numbers)) if self.hosts > 1 else None
        can = memory is not None
        if can:
            carried, carry = np.frombuffer(memory, np.float32, numbers), shim()[1].cellwright_shared_carry
            carry.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int64]
            can = bool(carry(self.number, carried.ctypes.data, numbers))
            _kept.append(memory)
        return carried if self.comm.allreduce(int(can), MPI.MIN) else None

    @property
    def ranks(self):
        """How many ranks this host has."""
        return self.comm.Get_size()

    def part(self, numbers):
        """Returns (begin, end) of what this rank has of a row of so many numbers that its host's ranks share."""
        part, bounds = shim()[1].cellwright_shared_part, (ctypes.c_int64 * 2)()
        part.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_void_p]
        part(self.number, numbers, bounds)
        return tuple(bounds)

    def sum(self, arrays, carried=-1, out=None):
        """Returns the sums over ranks of float32 arrays. Collective; RuntimeError where the ranks' shapes differ.

        carried: from which place on what was rounded off is kept, see `carry`; -1: sums travel as float32. out: arrays
        for the sums, contiguous, of the same shapes; none: new ones.
        """
        given = [np.asarray(array, np.float32, order="C") for array in arrays]
        sums = [np.empty_like(array) for array in given] if out is None else out
        starts = np.cumsum([0, *(array.size for array in given)], dtype=np.int64)
        pointers = [(ctypes.c_void_p * len(given))(*(array.ctypes.data for array in some)) for some in (given, sums)]
        code = shim()[1].cellwright_shared_sum(
            self.number, len(given), *pointers, starts.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(carried)
        )
        if code:
            raise RuntimeError(f"sum over ranks: code {code}" + ", the ranks' tensors differ" * (code == 77))
        return sums

    def moved(self):
        """Returns what this rank has moved since the group was made."""
        counts = (ctypes.c_int64 * 4)()
        shim()[1].cellwright_shared_moved(self.number, counts)
        return Moved(*counts)


def share(comm, host=None):
    """Returns a new SharedGroup over the ranks of a communicator, or None where memory cannot be shared. Collective.

    comm: an mpi4py communicator of at least two ranks. host: the communicator of those that share memory with this
    rank, in the order of `comm`; by default those that MPI finds.
    """
    from mpi4py import MPI

    if comm.Get_size() == 1:
        return None
    library = shim()[1]
    host = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.Get_rank()) if host is None else host
    rank, ranks = host.Get_rank(), host.Get_size()
    owners = comm.allreduce(ranks, MPI.MIN)
    hosts = comm.allreduce(int(rank == 0))
    first_ranks = comm.allgather(host.bcast(comm.Get_rank()))
    channels = library.cellwright_shared_channels(comm.allreduce(set_threads(0), MPI.MIN))
    library.cellwright_shared_bytes.restype = ctypes.c_int64
    memory = _shared_memory(host, library.cellwright_shared_bytes(ranks, channels))
    number = -1
    if comm.allreduce(int(memory is not None), MPI.MIN):
        between = _between_hosts(comm, rank, owners, hosts) if hosts > 1 else -1
        library.cellwright_shared_join.argtypes = [ctypes.c_void_p] + [ctypes.c_int] * 5
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        if hosts == 1 or between >= 0:
            number = library.cellwright_shared_join(address, rank, ranks, channels, owners, between)
        _kept.append((memory, host))
    if comm.allreduce(number, MPI.MIN) < 0:
        return None
    own = sorted(set(first_ranks)).index(first_ranks[comm.Get_rank()])  # hosts are in the order of their first ranks
    return SharedGroup(number, hosts, owners, channels, own, rank == 0, host)


def _between_hosts(comm, rank, owners, hosts):
    """Returns the number by which hosts_allreduce.c knows the ranks that own the same part on all hosts, or -1."""
    from mpi4py import MPI

    library, mpi = shim()[1], mpi_library()
    across = comm.Split(rank if rank < owners else MPI.UNDEFINED, comm.Get_rank())
    _kept.append(across)
    own, handle = (across.Get_rank(), MPI._handleof(across)) if rank < owners else (0, 0)
    library.cellwright_hosts.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_ssize_t] * 2 + [ctypes.c_int] * 3
    functions = (ctypes.cast(call, ctypes.c_void_p) for call in (mpi.MPI_Isend, mpi.MPI_Irecv, mpi.MPI_Waitall))
    handles = MPI._handleof(MPI.FLOAT), handle, MPI._sizeof(MPI.Request)
    return library.cellwright_hosts(*functions, *handles, hosts, own)


def _shared_memory(host, size):
    """Returns a mapping of new memory, all zero, that the ranks of a host share, or None. Collective over them.

    It has no name: rank 0 holds it by a file descriptor that the others open, so nothing is left behind by ranks that
    are killed.
    """
    descriptor = None
    try:
        if host.Get_rank() == 0:
            descriptor = os.memfd_create("cellwright-allreduce")
            os.ftruncate(descriptor, size)
    except OSError:
        descriptor = None
    path = host.bcast(f"/proc/{os.getpid()}/fd/{descriptor}" if descriptor is not None else None)
    try:
        if descriptor is None and path is not None:
            descriptor = os.open(path, os.O_RDWR)
        return mmap.mmap(descriptor, size) if descriptor is not None else None
    except OSError:
        return None
    finally:
        host.Barrier()  # all have opened it, or could not
        if descriptor is not None:
            os.close(descriptor)
