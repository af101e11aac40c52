"""Allreduce of gradients between ranks: the graph's nodes, bare MPI, MindSpore's own collective.

    python -m launch.bench allreduce [--megabytes 32,134,553] [--ranks 2] [--json FILE]

The candidates take turns in one job, so that all of them meet the same noise; the figure is the fastest turn. For more
ranks than there are cores the turns say little: beside them stand the bytes that a rank moves, counted, and what they
cost at the bandwidths of this machine where every rank has a core, modelled.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cellwright.launch.bench import own_process
from cellwright.launch.settings.flag_parser import setting

BARE, IN_PLACE, MPI_NODE, SHARED_NODE, MCCL = "bare MPI", "bare MPI in place", "MPI node", "shared memory node", "mccl"


@dataclass(frozen=True)
class Settings:
    """What is measured. The default sizes are the gradients of DenseNet-121, GENet theta plus and VGG-16."""

    megabytes: tuple[int, ...] = setting((32, 134, 553), "sizes of the tensor, in 10^6 bytes")
    ranks: int = setting(2, "processes on this host")
    repeats: int = setting(5, "turns of each candidate")
    mccl: bool = setting(True, "also MindSpore's collective on CPU")

    def __post_init__(self):
        for name, least in (("ranks", 2), ("repeats", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")
        if not self.megabytes or min(self.megabytes) <= 0:
            raise ValueError(f"--megabytes {self.megabytes}: must be more than 0")


def measure(settings):
    """Returns milliseconds of each candidate at each size, and how the node compares."""
    found = run_ranks(settings, "nodes")
    if settings.mccl:
        for size, times in run_ranks(settings, "mccl")["times"].items():
            found["times"][size].update(times)
    results, ratios = [], {}
    for size, times in found["times"].items():
        for name, seconds in times.items():
            results.append({"name": f"{size} MB: {name}", "value": 1e3 * seconds, "unit": "ms"})
        node = times.get(SHARED_NODE) or times[MPI_NODE]
        for other in (IN_PLACE, MCCL):
            if other in times:
                ratios[f"{size} MB: node / {other}, speed"] = times[other] / node
    for name, value, unit in counted(found, settings.ranks):
        results.append({"name": name, "value": value, "unit": unit})
        size = name.partition(" MB")[0]
        if unit == "ms, modelled" and settings.ranks <= len(os.sched_getaffinity(0)):
            ratios[f"{size} MB: modelled / measured, time"] = value / 1e3 / found["times"][size][SHARED_NODE]
    return {"results": results, "ratios": ratios}


def counted(found, ranks):
    """Returns (name, value, unit) of what a rank moves, and of the model's time, where that was counted."""
    rows = []
    for size, moved in found.get("moved", {}).items():
        memory, cache = moved["memory"] / (1e6 * float(size)), moved["cache"] / (1e6 * float(size))
        rows.append((f"{size} MB: through main memory, a rank, counted", memory, "x the tensor"))
        rows.append((f"{size} MB: through the shared cache, a rank, counted", cache, "x the tensor"))
        seconds = modelled(float(size) * 1e6, memory, cache, ranks, **found["bandwidth"])
        rows.append(
            (f"{size} MB: shared memory node, {ranks} ranks, a core each, modelled", 1e3 * seconds, "ms, modelled")
        )
    return rows


def modelled(tensor_bytes, memory, cache, ranks, host, core):
    """Returns the seconds of a sum: main memory serves all ranks of a host at once, each core moves its rank's bytes.

    memory, cache: times the tensor that a rank moves through each. host: bytes/s of main memory, all cores together.
    core: bytes/s of a core in its cache.
    """
    return tensor_bytes * max(ranks * memory / host, (memory + cache) / core)


def run_ranks(settings, what):
    """Starts the ranks and returns as rank 0 printed it {"times": {size: {candidate: seconds}}}, and what was counted.

    Empty inside where they failed.
    """
    worker = [sys.executable, "-m", "cellwright.launch.bench.allreduce", "--worker", what, json.dumps(vars(settings))]
    done = under_mpirun(settings.ranks, worker)
    if done.returncode:
        sys.stderr.write(f"{what}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}\n")
        return {"times": {str(size): {} for size in settings.megabytes}}
    return json.loads(done.stdout.strip().splitlines()[-1])


def under_mpirun(ranks, command, timeout=1800, **environment):
    """Returns the finished process of a command under `mpirun -n ranks` on this host."""
    mpirun = Path(sys.executable).with_name("mpirun")
    line = [
        str(mpirun) if mpirun.exists() else "mpirun",
        "-n",
        str(ranks),
        "--oversubscribe",
        "--bind-to",
        "none",
        *command,
    ]
    if os.geteuid() == 0:
        environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    return own_process.finished(line, timeout, {**os.environ, **environment})


def slowest_rank(comm, candidates, repeats):
    """Returns {name: the best seconds of so many runs in turn, each that of the slowest rank}. Collective."""
    from mpi4py import MPI

    times = {name: [] for name in candidates}
    for _ in range(repeats + 1):  # the first one warms up
        for name, once in candidates.items():
            comm.Barrier()
            began = time.perf_counter()
            once()
            times[name].append(comm.allreduce(time.perf_counter() - began, MPI.MAX))
    return {name: min(turns[1:]) for name, turns in times.items()}


def worker(what, settings):
    """One rank: times all candidates; rank 0 prints the seconds of the slowest rank."""
    from mpi4py import MPI

    from cellwright.launch.host.collectives import Cluster
    from cellwright.launch.host.mpi_world import open_world
    from cellwright.launch.host.runtime import quiet_environment, start_mindspore

    world = open_world()
    comm = world.comm
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[comm.Get_rank() % len(cores)]})
    quiet_environment(1)
    start_mindspore("CPU", 0, 1, seed=1)
    cluster = Cluster(world) if what == "mccl" else None
    import numpy as np

    found, moved = {}, {}
    bandwidth = bandwidths(comm, len(cores)) if what == "nodes" else {}
    for size in settings.megabytes:
        array = np.random.default_rng(comm.Get_rank()).normal(size=int(size * 250000)).astype(np.float32)
        candidates, group = (_mccl(array), None) if what == "mccl" else _candidates(comm, MPI, array)
        found[str(size)] = slowest_rank(comm, candidates, settings.repeats)
        if group:
            moved[str(size)] = _moved(comm, group, settings.repeats + 1)
    if comm.Get_rank() == 0:
        print(json.dumps({"times": found, "moved": moved, "bandwidth": bandwidth}), flush=True)
    if cluster:
        cluster.close()


def _moved(comm, group, sums):
    moved, size = group.moved(), comm.Get_size()
    return {
        "memory": comm.allreduce(moved.read + moved.written) / sums / size,
        "cache": comm.allreduce(moved.shared_read + moved.shared_written) / sums / size,
    }


def bandwidths(comm, cores):
    """Returns bytes/s read and written: `core` by one core in its cache, `host` of main memory by all cores at once."""
    import numpy as np

    def fastest(numbers, turns, repeats):
        source, target, best = np.ones(numbers, np.float32), np.ones(numbers, np.float32), 0.0
        for _ in range(turns):
            began = time.perf_counter()
            for _ in range(repeats):
                np.copyto(target, source)
            best = max(best, 8 * numbers * repeats / (time.perf_counter() - began))
        return best

    comm.Barrier()
    core = fastest(1 << 16, 20, 50) if comm.Get_rank() == 0 else 0.0
    comm.Barrier()
    busy = comm.Get_rank() < cores  # one rank a core
    host = comm.allreduce(fastest(1 << 24, 8, 1) if busy else 0.0)
    return {"host": host, "core": comm.bcast(core)}


def _candidates(comm, mpi, array):
    import mindspore as ms
    import numpy as np

    from cellwright.kernels.nodes import MpiAllreduce

    tensor, result, buffer = ms.Tensor(array), np.empty_like(array), array.copy()
    nodes = {MPI_NODE: MpiAllreduce(comm, shared=False)}
    shared = MpiAllreduce(comm)
    if shared.shared:
        nodes[SHARED_NODE] = shared
    once = {
        BARE: lambda: comm.Allreduce(array, result),
        IN_PLACE: lambda: comm.Allreduce(mpi.IN_PLACE, buffer),
        **{name: lambda node=node: node(tensor) for name, node in nodes.items()},
    }
    return once, shared.group


def _mccl(array):
    import mindspore as ms
    from mindspore import ops

    tensor, allreduce = ms.Tensor(array), ops.AllReduce()
    return {MCCL: lambda: allreduce(tensor).asnumpy()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", nargs=2, metavar=("WHAT", "SETTINGS"))
    parser.add_argument("--json", help="write the report to this file")
    given = parser.parse_args()
    if given.worker:
        worker(given.worker[0], Settings(**json.loads(given.worker[1])))
        return 0
    from cellwright.launch.bench.__main__ import main as bench

    return bench(["allreduce", *(["--json", given.json] if given.json else [])])


if __name__ == "__main__":
    sys.exit(main())
