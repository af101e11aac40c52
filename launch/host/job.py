"""One process of a job: its start in the right order, and an end that takes all ranks along."""

import contextlib
import os
import sys
import traceback

from cellwright.launch.host.collectives import Cluster, choose_backend
from cellwright.launch.host.cores import cgroup_quota, crowded, this_host
from cellwright.launch.host.devices import device_of
from cellwright.launch.host.gpu_libraries import use_gpu_libraries
from cellwright.launch.host.mpi_world import open_world
from cellwright.launch.host.rank_log import RankLog
from cellwright.launch.host.rank_table import table_for
from cellwright.launch.host.runtime import (
    allow_all_instructions,
    graph_cache_folder,
    quiet_environment,
    start_mindspore,
    take_graphs,
    use_compile_cache,
)


class BadSetting(ValueError):
    """A setting that cannot work, found before the work started: one line for the user, exit code 2."""


class checking:
    """Context manager: a ValueError inside, or a MemoryError, is a BadSetting, on all ranks alike."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is ValueError or isinstance(error, MemoryError):
            raise BadSetting(str(error)) from error


class Job:
    """What a command's work is given: its world, this rank's log, and the cores of this rank."""

    def __init__(self, world, log):
        self.world, self.log = world, log
        self.cores, self.backend = None, "none"
        self._cluster = None
        self._crowded = False
        self._graphs = None  # folders: of the host's first rank, and this rank's, where they compile in turn

    def start_device(self, settings, collective=True):
        """Binds this process to its cores and starts MindSpore with them, for RunSettings. Collective.

        collective: whether the graph will sum over ranks; then the back end is made ready too. ValueError for a setting
        that cannot work.
        """
        world = self.world
        backend = choose_backend(settings.backend, settings.device_target, world.size)
        device = device_of(world, settings.device_target, settings.device_id)
        plans = this_host(world, settings.device_target)
        self.cores, self._crowded = plans[world.local_rank], crowded(plans, cgroup_quota())
        if settings.bind == "auto":
            os.sched_setaffinity(0, self.cores.graph)
        if settings.device_target == "GPU":
            use_gpu_libraries()
        start_mindspore(settings.device_target, device, self.cores.threads, settings.seed)
        if collective:
            self.backend = backend
            if backend in ("mccl", "nccl", "hccl"):
                self._cluster = Cluster(world, table_for(world, settings.rank_table) if backend == "hccl" else None)

    def graph_allreduce(self, overlap=False, wire_dtype="float32"):
        """Returns the cell that sums a tensor over ranks inside the graph, or None for a single rank. Collective."""
        if self._cluster is None:
            return self.world.graph_allreduce(overlap, wire_dtype)
        if wire_dtype != "float32":
            raise ValueError(f"--wire_dtype {wire_dtype} belongs to --backend mpi, and this one is {self.backend}")
        from cellwright.launch.host.collective_cell import CollectiveAllreduce

        return CollectiveAllreduce(self.world.size)

    def close(self, crashed=False):
        """Ends what was started beside the ranks. Collective, unless this rank crashed."""
        if self._cluster is not None:
            self._cluster.close(crashed)
            self._cluster = None

    def use_compile_cache(self, resolved, program, network):
        """Keeps the graphs of this very job on disk, for its next start: those of a command (program) with Resolved
        settings, and a network as it is when they are compiled. Collective.

        Not where sums go through Python for want of the shim: such a graph names a function of the process that is
        gone, and the next start would fail on it.
        """
        from cellwright.engine.step.programs import program_keys
        from cellwright.kernels.csrc import shim_available

        settings, world = resolved.run, self.world
        if settings.compile_cache and (self.backend != "mpi" or shim_available()):
            setup = (
                program,
                settings.kernels,
                settings.device_target,
                self.cores.threads,
                world.local_size,  # by which --shard_update cuts the moments
                self.backend,
                settings.seed,
                resolved.recipe,
                resolved.step,
                resolved.amp_level,
                program_keys(network),
            )
            own = graph_cache_folder(world.rank, world.size, setup)
            use_compile_cache(own)
            folders = world.on_this_host(own)
            alike = len({folder.name.partition("-")[0] for folder in folders}) == 1
            if self._crowded and alike and self.backend in ("mpi", "none"):  # other back ends' graphs name the rank
                self._graphs = folders[0], own

    @contextlib.contextmanager
    def in_turn(self):
        """Context manager around a compilation that all ranks make: where they share cores, the first rank of a host
        compiles, asleep the others wait, and then they take its graph from disk. Collective over the host there.

        DenseNet-121 at 64 pixels on 2 cores, without and with: 8 ranks 39.8 and 12.9 s to the first step, 4 ranks 14.2
        and 8.7. Where each has a core of its own, loading what it could have compiled meanwhile costs: 6.3 and 7.1.
        """
        if self._graphs is not None and self.world.local_rank:
            self.world.wait_for_host()
            take_graphs(*self._graphs)
        yield
        if self._graphs is not None and not self.world.local_rank:
            self.world.wait_for_host()

    def accelerate(self, network, settings, amp_level="O0", amp_dtype="auto"):
        """Returns the network, run by the project's own kernels where the settings and the device allow it."""
        if settings.kernels == "stock" or settings.device_target != "CPU":
            return network
        if amp_level != "O0" and amp_dtype == "float16":  # programs have none
            return network
        from cellwright.kernels.compiler import accelerate
        from cellwright.kernels.csrc import shim_available

        if shim_available():
            allow_all_instructions()
        return accelerate(network)

    def step_kernels(self, settings):
        """Returns what `build_step` takes for the optimizer and the overflow check: the project's own, or nothing."""
        from cellwright.kernels.csrc import shim_available
        from cellwright.kernels.nodes import AdamWStep, AllFinite, MomentumStep

        if settings.kernels == "stock" or settings.device_target != "CPU" or not shim_available():
            return {}
        return {"momentum": MomentumStep, "adamw": AdamWStep, "finite": AllFinite()}

    @property
    def loader_options(self):
        """The loader's share of this rank: as many workers as it has cores, each bound to one."""
        return {"cores": self.cores.workers}


def run(work, read, arguments, program):
    """Runs `work(job, *read(arguments, program))` in this process and returns its exit code.

    The order matters: the loader's forkserver, MPI, MindSpore. A BadSetting is told by rank 0 in one line, exit code 2.
    Any other exception on any rank ends the whole world with that rank's traceback, exit code 1; of too many files that
    cannot be read a line is enough.
    """
    from cellwright.dataloader import TooManyBadFiles, start_forkserver

    start_forkserver()
    try:
        world = open_world()
    except ValueError as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2
    quiet_environment(len(os.sched_getaffinity(0)))
    log = RankLog(world.rank)
    job = Job(world, log)
    try:
        code = work(job, *read(arguments, program))
        job.close()
        return code
    except BadSetting as error:
        if world.rank == 0:
            sys.stderr.write(f"{program}: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    except TooManyBadFiles as error:
        log.failed(f"{program}: {error.told('--max_bad ')}\n")
        job.close(crashed=True)
        if world.size > 1:
            world.comm.Abort(1)
        return 1
    except Exception:
        log.failed(f"rank {world.rank} of {world.size} failed:\n{traceback.format_exc()}")
        job.close(crashed=True)
        if world.size > 1:
            world.comm.Abort(1)
        return 1
    finally:
        job.close(crashed=True)
