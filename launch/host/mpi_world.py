"""The MPI world of a run: rank, size, reductions on the host and in the graph."""

import contextlib
import fcntl
import os
import re
import socket
import struct
import time

import numpy as np

from cellwright.dataloader.workers.forkserver import MPI_PREFIXES

# Set by mpirun, mpiexec and srun for the processes that they start (Open MPI, PMIx, MPICH and Intel MPI).
_LAUNCHER_VARIABLES = ("OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK", "PMI_SIZE")
_SIOCGIFADDR = 0x8915
_SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")


def under_mpi(environment=os.environ):
    """True if this process was started by an MPI launcher."""
    return any(name in environment for name in _LAUNCHER_VARIABLES)


class World:
    """One rank's view of the run. `World(comm)` wraps an mpi4py communicator, `World()` is a single process without
    MPI.
    """

    def __init__(self, comm=None):
        self.comm = comm
        self.rank = comm.Get_rank() if comm else 0
        self.size = comm.Get_size() if comm else 1
        self.local_rank, self.local_size = 0, 1
        if comm:
            from mpi4py import MPI

            self._host = comm.Split_type(MPI.COMM_TYPE_SHARED, self.rank)
            self.local_rank, self.local_size = self._host.Get_rank(), self._host.Get_size()

    def on_this_host(self, value):
        """Returns the list of this picklable value from every rank of this host, by local rank. Collective."""
        return self._host.allgather(value) if self.comm else [value]

    def allreduce(self, array):
        """Returns the sum of a numpy array over all ranks, same shape and dtype."""
        array = np.ascontiguousarray(array)
        if not self.comm:
            return array.copy()
        result = np.empty_like(array)
        self.comm.Allreduce(array, result)
        return result

    def broadcast(self, array, root=0):
        """Returns the root's numpy array on every rank."""
        return self.broadcast_object(array, root)

    def broadcast_object(self, value, root=0):
        """Returns the root's picklable value on every rank."""
        return self.comm.bcast(value, root) if self.comm else value

    def allgather_object(self, value):
        """Returns the list of all ranks' picklable values, by rank, on every rank."""
        return self.comm.allgather(value) if self.comm else [value]

    def on_rank_0(self, function):
        """Returns, on every rank, what `function()` returned on rank 0; a ValueError there is raised on all.
        Collective.
        """
        outcome = None
        if self.rank == 0:
            try:
                outcome = function(), None
            except ValueError as error:
                outcome = None, str(error)
        value, refused = self.broadcast_object(outcome)
        if refused is not None:
            raise ValueError(refused)
        return value

    def barrier(self):
        """Returns when every rank has called it."""
        if self.comm:
            self.comm.Barrier()

    def wait_for_host(self):
        """Returns when every rank of this host has called it, and waits without taking a core from the others."""
        if self.comm:
            request = self._host.Ibarrier()
            while not request.Test():
                time.sleep(0.02)

    def graph_allreduce(self, overlap=False, wire_dtype="float32"):
        """Returns the cell that sums a tensor over ranks inside the graph (MpiAllreduce), or None for a single rank."""
        if self.size == 1:
            return None
        from cellwright.kernels.nodes import MpiAllreduce

        return MpiAllreduce(self.comm, overlap=overlap, wire_dtype=wire_dtype)


def host_address():
    """Returns the address of this host that others reach it by: of the default route, else of the first interface that
    has one.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1, nobody's address; no packet is sent
            return probe.getsockname()[0]
        except OSError:
            pass
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue
            address = socket.inet_ntoa(answer[20:24])
            if not address.startswith("127."):
                return address
    return "127.0.0.1"


def open_world():
    """Returns the World of this process: of MPI.COMM_WORLD under mpirun, mpiexec or srun, else a single rank.

    ValueError where the launcher started several processes and MPI sees one: they are not of the same make.
    """
    if not under_mpi():
        return World()
    library = launchers_library()
    if library:
        os.environ.setdefault("MPI4PY_LIBMPI", library)
    from mpi4py import MPI

    world = World(MPI.COMM_WORLD)
    started = next((int(os.environ[name]) for name in _SIZES if os.environ.get(name, "").isdigit()), 1)
    if started > 1 and world.size == 1:
        _remove_names(
            "sm_segment"
        )  # a process that Open MPI takes for a world of its own has nobody to clean up for it
        name = " ".join(map(str, MPI.get_vendor()[:1]))
        raise ValueError(
            f"the launcher started {started} processes, but {name} sees one: take the mpirun that belongs to {name}, "
            "or name the launcher's library in MPI4PY_LIBMPI; under srun try --mpi=pmix or --mpi=pmi2"
        )
    world.barrier()
    _remove_names("mpich_shm")  # all have mapped it by now, and a rank that is killed removes nothing
    # A library that sees these would start, or wait for, a world of its own.
    for name in [name for name in os.environ if name.startswith(MPI_PREFIXES)]:
        del os.environ[name]
    return world


def _remove_names(prefix):
    """Removes the names of the shared memory that this process has mapped, and not the memory."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        names = set(re.findall(rf"\s(/dev/shm/{prefix}\S*)", maps.read()))
    for name in names:
        with contextlib.suppress(OSError):
            os.unlink(name)


def launchers_library(process=None):
    """Returns the libmpi beside the MPICH launcher that started this process, or None: mpi4py may know another MPI
    first.
    """
    process = os.getppid() if process is None else process
    while process > 1:
        try:
            program = os.readlink(f"/proc/{process}/exe")
            with open(f"/proc/{process}/stat", encoding="utf-8") as stat:
                process = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return None
        if os.path.basename(program) == "hydra_pmi_proxy":
            library = os.path.join(os.path.dirname(program), "..", "lib", "libmpi.so.12")
            return os.path.realpath(library) if os.path.exists(library) else None
    return None
