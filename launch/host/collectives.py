"""What sums the gradients over ranks: our own MPI node, or a collective library of MindSpore and the cluster that it
needs.

MindSpore's libraries (mccl on CPU, nccl on GPU, hccl on Ascend) find their ranks through a scheduler process. It is
started here beside rank 0, on a free port, and ends with rank 0 however that ends. nccl and hccl: not run on hardware.
"""

import atexit
import contextlib
import os
import socket
import subprocess
import sys

from cellwright.dataloader.workers.forkserver import MPI_PREFIXES
from cellwright.launch.host.mpi_world import host_address

BACKENDS = ("auto", "mpi", "mccl", "nccl", "hccl", "none")
_BY_DEVICE = {"CPU": ("mpi", "mccl"), "GPU": ("nccl",), "Ascend": ("hccl",)}  # the default first
# Seconds: how often a rank asks for the scheduler while that starts (MindSpore: 3 to 5), and for how long (1800).
_JOINING = {"MS_RETRY_INTERVAL_LOWER": "1", "MS_RETRY_INTERVAL_UPPER": "1", "MS_TOPO_TIMEOUT": "180"}


def choose_backend(wanted, device_target, size):
    """Returns the back end of a world of `size` ranks: mpi, mccl, nccl, hccl, or none for a single rank.

    ValueError for one that the device does not have, and for several ranks that would not talk to each other.
    """
    possible = _BY_DEVICE[device_target]
    if wanted not in ("auto", "none", *possible):
        raise ValueError(f"--backend {wanted}: on {device_target} allowed are auto, {', '.join(possible)}")
    if size == 1:
        return "none"
    if wanted == "none":
        raise ValueError(
            f"--backend none: {size} ranks would train {size} networks; allowed are auto, {', '.join(possible)}"
        )
    return possible[0] if wanted == "auto" else wanted


def scheduler_environment(environment, cluster):
    """Returns the scheduler's environment: without the launcher's variables, which would make it wait for a world of
    its own.
    """
    clean = {name: value for name, value in environment.items() if not name.startswith(MPI_PREFIXES)}
    return {**clean, **cluster, "MS_ROLE": "MS_SCHED", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class Cluster:
    """MindSpore's cluster over the ranks of a world: `Cluster(world)` makes this process one of its workers.
    Collective.

    To be made after the device was set, and before the first tensor. RuntimeError where it does not come up. `close()`
    ends it.
    """

    def __init__(self, world, rank_table=None):
        self.world, self.scheduler, self.joined = world, None, False
        host, port = world.broadcast_object((self._address(), free_port()) if world.rank == 0 else None)
        cluster = {"MS_WORKER_NUM": str(world.size), "MS_SCHED_HOST": host, "MS_SCHED_PORT": str(port)}
        for name, value in _JOINING.items():
            os.environ.setdefault(name, value)
        if world.rank == 0:
            self.scheduler = start_scheduler(cluster)
        os.environ.update(cluster, MS_ROLE="MS_WORKER", MS_NODE_ID=str(world.rank))
        if rank_table:
            os.environ["RANK_TABLE_FILE"] = str(rank_table)
        from mindspore.communication import get_rank, init

        try:
            with one_thread_at_a_time(world.local_rank):
                init()
        except RuntimeError as error:
            self.close(crashed=True)
            raise RuntimeError(f"MindSpore's cluster did not come up on {host}:{port}: {error}") from None
        self.joined = True
        if get_rank() != world.rank:
            raise RuntimeError(f"MPI's rank {world.rank} became rank {get_rank()} of MindSpore's cluster")

    def _address(self):
        if self.world.local_size == self.world.size:
            return "127.0.0.1"
        return os.environ.get("MS_SCHED_HOST") or host_address()  # the variable may choose among several networks

    def close(self, crashed=False):
        """Leaves the cluster and ends the scheduler; collective, unless this rank crashed."""
        if self.joined:
            from mindspore._c_expression import set_cluster_exit_with_exception

            # Else each rank asks the scheduler to strike it off, and waits 10 s for the answer of one that is gone.
            set_cluster_exit_with_exception()
            atexit.register(_silence)
            self.joined = False
        if not crashed:
            self.world.barrier()
        if self.scheduler is not None:
            self.scheduler.kill()
            self.scheduler.wait()
            self.scheduler = None


@contextlib.contextmanager
def one_thread_at_a_time(core):
    """Context manager: inside, the threads of this process take turns on one core, and none is woken into another's
    turn.

    MindSpore misses a connection that is made before the connecting thread has noted whom it called, and tries again.
    With threads that run as they like, joining took 3 to 60 s; in turns 3 s.
    """
    cores, policy = os.sched_getaffinity(0), os.sched_getscheduler(0)
    threads = {int(name) for name in os.listdir("/proc/self/task")}
    os.sched_setaffinity(0, {sorted(cores)[core % len(cores)]})
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        new = {int(name) for name in os.listdir("/proc/self/task")} - threads
        for thread in (0, *new):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)
                os.sched_setscheduler(thread, policy, os.sched_param(0))


def start_scheduler(cluster):
    """Returns the process of a scheduler for these MS_ variables, which the kernel kills when this process ends."""
    code = f"from cellwright.launch.host.mindspore_scheduler import main; main({os.getpid()})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=scheduler_environment(os.environ, cluster),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def _silence():
    """MindSpore's threads tell on stderr, whatever GLOG_v says, that they end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def free_port():
    """Returns a TCP port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]
