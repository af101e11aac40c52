"""What sums the gradients over ranks: our own MPI node, or a collective library of MindSpore and the cluster that it needs.

MindSpore's libraries (mccl on CPU, nccl on GPU, hccl on Ascend) find their ranks through a scheduler process. It is
started here beside rank 0, on a free port, and ends with rank 0 however that ends. nccl and hccl: not run on hardware.
"""

import os
import socket
import subprocess
import sys
import threading

BACKENDS = ("auto", "mpi", "mccl", "nccl", "hccl", "none")
_BY_DEVICE = {"CPU": ("mpi", "mccl"), "GPU": ("nccl",), "Ascend": ("hccl",)}  # the default first
_LAUNCHERS = ("OMPI_", "PMIX_", "PRTE_", "PMI_", "MPIR_", "HYDI_", "HYDRA_", "MPI_LOCAL")
_RELEASE_S = 5.0


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
        raise ValueError(f"--backend none: {size} ranks would train {size} networks; allowed are auto, {', '.join(possible)}")
    return possible[0] if wanted == "auto" else wanted


def scheduler_environment(environment, cluster):
    """Returns the scheduler's environment: without the launcher's variables, which would make it wait for a world of its own."""
    clean = {name: value for name, value in environment.items() if not name.startswith(_LAUNCHERS)}
    return {**clean, **cluster, "MS_ROLE": "MS_SCHED", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class Cluster:
    """MindSpore's cluster over the ranks of a world: `Cluster(world)` makes this process one of its workers. Collective.

    To be made after the device was set, and before the first tensor. RuntimeError where it does not come up. `close()` ends it.
    """

    def __init__(self, world, rank_table=None):
        self.world, self.scheduler, self.joined = world, None, False
        host, port = world.broadcast_object((self._address(), free_port()) if world.rank == 0 else None)
        cluster = {"MS_WORKER_NUM": str(world.size), "MS_SCHED_HOST": host, "MS_SCHED_PORT": str(port)}
        if world.rank == 0:
            self.scheduler = start_scheduler(cluster)
        os.environ.update(cluster, MS_ROLE="MS_WORKER", MS_NODE_ID=str(world.rank))
        if rank_table:
            os.environ["RANK_TABLE_FILE"] = str(rank_table)
        from mindspore.communication import get_rank, init

        try:
            init()
        except RuntimeError as error:
            self.close(crashed=True)
            raise RuntimeError(f"MindSpore's cluster did not come up on {host}:{port}: {error}") from None
        self.joined = True
        if get_rank() != world.rank:
            raise RuntimeError(f"MPI's rank {world.rank} became rank {get_rank()} of MindSpore's cluster")

    def _address(self):
        from launch.world import host_address

        return "127.0.0.1" if self.world.local_size == self.world.size else host_address()

    def close(self, crashed=False):
        """Leaves the cluster and ends the scheduler; collective, unless this rank crashed."""
        if self.joined and not crashed:
            self.joined = False
            # In a thread, because it would wait for ever for a scheduler that was killed.
            from mindspore.communication import release

            leaving = threading.Thread(target=release, daemon=True)
            leaving.start()
            leaving.join(_RELEASE_S)
            self.world.barrier()  # the scheduler stays until every rank has left
        if self.scheduler is not None:
            self.scheduler.kill()
            self.scheduler.wait()
            self.scheduler = None


def start_scheduler(cluster):
    """Returns the process of a scheduler for these MS_ variables, which the kernel kills when this process ends."""
    code = f"from launch.scheduler import main; main({os.getpid()})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=scheduler_environment(os.environ, cluster),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def free_port():
    """Returns a TCP port that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        return listener.getsockname()[1]
