"""Allreduce between two hosts of two ranks, which are network namespaces of this one: ours against flat MPI_Allreduce.

    python -m launch.bench hosts [--megabytes 32,134,553] [--gbit 1] [--delay_us 0] [--torch PYTHON] [--oneccl PYTHON]

Needs the right to make network namespaces. The candidates take turns in one job; the figure is the fastest turn. Beside
it stands what a model of the link predicts, for these two hosts and for more. --torch adds gloo and --oneccl oneCCL, by
a process beside each rank, which sleeps while it is not its turn.
"""

import argparse
import itertools
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from cellwright.launch.bench import own_process
from cellwright.launch.bench.allreduce import slowest_rank
from cellwright.launch.bench.sum_peers import FLAGS, sum_peers
from cellwright.launch.host.delayed_link import FRAME, PAYLOAD
from cellwright.launch.host.mpi_world import open_world
from cellwright.launch.settings.flag_parser import setting

FLAT, OURS, HALF = "flat MPI_Allreduce", "by host", "by host, bfloat16 on the wire"
MODELLED_HOSTS = (8, 64)
BLOCK_BYTES, COPY_BYTES_PER_S = 4 << 20, 5e9  # the first block is added up, and the last handed out, beside the wire


@dataclass(frozen=True)
class Settings:
    """What is measured, and over what link."""

    megabytes: tuple[int, ...] = setting((32, 134, 553), "sizes of the tensor, in 10^6 bytes")
    ranks: int = setting(2, "processes of each of the two hosts")
    gbit: float = setting(1.0, "Gbit/s of the link, each way")
    delay_us: int = setting(0, "delay one way, microseconds; a process then carries the packets")
    repeats: int = setting(2, "turns of each candidate, after one that does not count")
    torch: str | None = setting(None, "Python interpreter that has PyTorch, for gloo; none: without it", None, "PYTHON")
    oneccl: str | None = setting(
        None, "Python interpreter of an environment with oneccl from PyPI; none: without it", None, "PYTHON"
    )

    def __post_init__(self):
        for name, least in (("ranks", 1), ("repeats", 1), ("delay_us", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")
        if self.gbit <= 0:
            raise ValueError(f"--gbit {self.gbit}: must be more than 0")
        if not self.megabytes or min(self.megabytes) <= 0:
            raise ValueError(f"--megabytes {self.megabytes}: must be more than 0")
        own_process.check_torch(self.torch)
        own_process.check_oneccl(self.oneccl)


def measure(settings):
    """Returns milliseconds of each candidate at each size, how they compare, and how near the link's speed they are."""
    from cellwright.launch.host.namespaces import namespaces

    worker = [
        sys.executable,
        "-m",
        "mpi4py",
        "-m",
        "cellwright.launch.bench.hosts",
        "--worker",
        json.dumps(vars(settings)),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRTE_")}
    environment.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    # The hosts share the cores of one: who waits must let others work.
    environment["OMPI_MCA_mpi_yield_when_idle"] = "1"
    if settings.delay_us:  # it waits for round trips after each 64 KB else, and takes many times as long
        environment.setdefault("OMPI_MCA_coll_han_allreduce_segsize", str(4 << 20))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    with (
        tempfile.TemporaryDirectory() as folder,
        namespaces(folder, settings.ranks, settings.gbit, settings.delay_us) as hosts,
    ):
        line = hosts.mpirun(Path(sys.executable).with_name("mpirun"), 2 * settings.ranks)
        done = own_process.finished([*line, *worker], environment=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["failed"]
        # The launcher's words follow those of the ranks.
        named = [line for line in lines if re.match(r"\w+Error: ", line)]
        raise RuntimeError(f"the ranks failed: {(named or lines[-1:])[0]}")
    results, ratios = [], {}
    for size, times in json.loads(done.stdout.strip().splitlines()[-1]).items():
        for name, seconds in times.items():
            results.append({"name": f"{size} MB: {name}", "value": 1e3 * seconds, "unit": "ms"})
        for name, other in itertools.product((OURS, HALF), (FLAT, *FLAGS.values())):
            if other in times:
                ratios[f"{size} MB: {name} / {other}, time"] = times[name] / times[other]
        least = 1e6 * float(size) * 8 / (settings.gbit * 1e9)  # each host has to tell the other all it knows
        ratios[f"{size} MB: {OURS} / the link at its speed, time"] = times[OURS] / least
        ratios[f"{size} MB: predicted / measured, time"] = predicted(1e6 * float(size), 2, settings) / times[OURS]
        for hosts in MODELLED_HOSTS:
            seconds = predicted(1e6 * float(size), hosts, settings)
            results.append(
                {"name": f"{size} MB: {OURS}, {hosts} hosts, modelled", "value": 1e3 * seconds, "unit": "ms"}
            )
    return {"results": results, "ratios": ratios}


def predicted(tensor_bytes, hosts, settings):
    """Returns the seconds of a sum by host: each sends and gets 2 (H - 1) / H of the tensor over its own link, in full
    frames; numbers and sums take a trip each; the first and the last block are moved while the wire is idle.
    """
    rate = settings.gbit * 1e9 / 8 * PAYLOAD / FRAME
    wire = 2 * (hosts - 1) / hosts * tensor_bytes / rate
    return wire + 2e-6 * settings.delay_us + 2 * min(tensor_bytes, BLOCK_BYTES) / COPY_BYTES_PER_S


def worker(settings):
    """One rank: times both candidates; rank 0 prints the seconds of the slowest rank."""
    import numpy as np

    from cellwright.kernels.csrc import set_threads
    from cellwright.kernels.csrc.shared_group import share

    world = open_world()  # with what a launcher sets out of the way of the peers
    comm = world.comm
    set_threads(1)
    group = share(comm)
    assert group.hosts == 2, f"{group.hosts} hosts"
    assert group.carry(int(max(settings.megabytes) * 250000)) is not None
    found = {}
    with sum_peers(world, {name: getattr(settings, flag) for flag, name in FLAGS.items()}) as peers:
        for size in settings.megabytes:
            array = np.random.default_rng(comm.Get_rank()).normal(size=int(size * 250000)).astype(np.float32)
            result = np.empty_like(array)
            candidates = {
                FLAT: partial(comm.Allreduce, array, result),
                OURS: partial(group.sum, [array], out=[result]),
                HALF: partial(group.sum, [array], 0, [result]),
            }
            for name, peer in peers.items():
                peer(array.size)  # makes room for it
                candidates[name] = partial(peer, array.size)
            found[str(size)] = slowest_rank(comm, candidates, settings.repeats)
    if comm.Get_rank() == 0:
        print(json.dumps(found), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", metavar="SETTINGS", required=True)
    worker(SimpleNamespace(**json.loads(parser.parse_args().worker)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
