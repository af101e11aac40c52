"""Two ranks on one core each against one rank on two, and what a cluster would make of it.

    python -m launch.bench scaling [--nets densenet121,vgg16-cifar] [--json FILE]

Measured: the same global batch, on the same cores, as one rank with all of them and as one rank per core that sums
gradients through the allreduce node. Simulated, and named so: more ranks of this kind over a link, see `simulate`.
"""

import argparse
import json
import os
import statistics
import sys
import time
from dataclasses import dataclass

from cellwright.launch.bench.allreduce import under_mpirun
from cellwright.launch.bench.step import CLASSES, NETS, SIZE, WARM_UP, chosen
from cellwright.launch.settings.flag_parser import setting

SIMULATED_RANKS = (8, 64)
BUCKETS_MB = (1, 4, 16, 25, 64, 128, 1024)


@dataclass(frozen=True)
class Settings:
    """What is measured, and the link of the simulated cluster."""

    nets: str = setting("all", f"comma-separated, of {', '.join(NETS)}")
    rounds: int = setting(2, "processes of each arrangement, in turn")
    steps: int = setting(5, "timed steps of a process, after two that are not")
    shard_update: bool = setting(True, "ranks share the update, see launch.train")
    link_gbit: float = setting(25.0, "bandwidth of the simulated link, Gbit/s each way")
    link_latency_us: float = setting(20.0, "latency of a message on it, microseconds")

    def __post_init__(self):
        for name in chosen(self.nets, NETS):
            if name not in NETS:
                raise ValueError(f"--nets {name!r}: known are {', '.join(NETS)}")
        for name in ("rounds", "steps", "link_gbit", "link_latency_us"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name} {getattr(self, name)}: must be more than 0")


def measure(settings):
    """Returns step times of both arrangements, their ratio, and the simulated efficiencies."""
    from cellwright.engine.step.bucket import DEFAULT_BUCKET_BYTES

    results, ratios, default = [], {}, DEFAULT_BUCKET_BYTES >> 20
    ranks = len(os.sched_getaffinity(0))
    for net in chosen(settings.nets, NETS):
        times = {1: [], ranks: []}
        for _ in range(settings.rounds):
            for size in times:
                times[size].append(run_ranks(net, size, settings.steps, settings.shard_update and size > 1))
        whole, split = (statistics.median(report["step_s"] for report in times[size]) for size in (1, ranks))
        results += [
            {"name": f"{net}: 1 rank x {ranks} cores", "value": NETS[net][2] / whole, "unit": "images/s"},
            {"name": f"{net}: {ranks} ranks x 1 core", "value": NETS[net][2] / split, "unit": "images/s"},
        ]
        ratios[f"{net}: {ranks} ranks x 1 core / 1 rank x {ranks} cores"] = whole / split
        sizes = times[1][0]["gradient_bytes"]
        for simulated in SIMULATED_RANKS:
            plans = {mb: simulate(whole, sizes, simulated, mb << 20, settings) for mb in BUCKETS_MB}
            best = min(plans, key=plans.get)
            results.append({"name": f"{net}: best buckets, {simulated} ranks, simulated", "value": best, "unit": "MiB"})
            ratios[f"{net}: efficiency on {simulated} ranks, simulated, default buckets"] = whole / plans[default]
            ratios[f"{net}: step with default buckets / best, {simulated} ranks, simulated"] = (
                plans[default] / plans[best]
            )
    return {"results": results, "ratios": ratios}


def simulate(step_s, gradient_bytes, ranks, bucket_bytes, settings, copy_bytes_per_s=20e9):
    """Returns the seconds of a step on so many ranks, one a host, under a simple model.

    The gradients of a program are there when its backward node ends, so nothing hides behind backward. Then bucket
    after bucket is copied into one piece (at `copy_bytes_per_s`), sent round a ring and copied out; the copies of one
    bucket run while another travels. A ring of n ranks moves 2 (n - 1) / n of the bytes in 2 (n - 1) messages.
    """
    from cellwright.engine.step.bucket import plan_buckets

    rate = settings.link_gbit * 1e9 / 8
    sizes = [bucket.elements * 4 for bucket in plan_buckets([size // 4 for size in gradient_bytes], bucket_bytes)]
    copied = travelled = 0.0
    for size in sizes:
        copied += size / copy_bytes_per_s
        ring = 2 * (ranks - 1) / ranks * size / rate + 2 * (ranks - 1) * settings.link_latency_us * 1e-6
        travelled = max(copied, travelled) + ring
    return step_s + travelled + sizes[-1] / copy_bytes_per_s


def run_ranks(net, ranks, steps, shard_update=False):
    """Returns the report of rank 0; the ranks share the cores of this process."""
    words = ["--worker", net, "--steps", str(steps), *["--shard_update"] * shard_update]
    done = under_mpirun(ranks, [sys.executable, "-m", "cellwright.launch.bench.scaling", *words], timeout=3600)
    if done.returncode:
        raise RuntimeError(f"{net} on {ranks} ranks: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def worker(net, steps, shard_update=False):
    """One rank: trains on its share of the batch; rank 0 prints the median step."""
    from cellwright.launch.host.mpi_world import open_world
    from cellwright.launch.host.runtime import allow_all_instructions, quiet_environment, start_mindspore

    world = open_world()
    cores = sorted(os.sched_getaffinity(0))[world.rank :: world.size]
    os.sched_setaffinity(0, cores)
    quiet_environment(len(cores))
    allow_all_instructions()
    start_mindspore("CPU", 0, len(cores), seed=1)
    import numpy as np

    from cellwright.engine import Momentum, SoftmaxCrossEntropy, TrainOneStep
    from cellwright.kernels.compiler import accelerate
    from cellwright.kernels.nodes import AllFinite, FactoredGradients, MomentumStep
    from cellwright.nets import create_network

    name, network_settings, batch = NETS[net]
    network = accelerate(create_network(name, CLASSES, SIZE, **network_settings))
    allreduce = world.graph_allreduce()
    shard = {"shard": allreduce.group} if shard_update else {}
    optimizer = Momentum(network.trainable_params(), 0.9, 1e-4, kernel=MomentumStep, **shard)
    step = TrainOneStep(
        network,
        SoftmaxCrossEntropy(CLASSES),
        optimizer,
        allreduce=allreduce,
        finite_kernel=AllFinite(),
        factored=FactoredGradients(network, batch // world.size) if shard_update else None,
    )
    draw = np.random.default_rng(world.rank)
    images = draw.normal(size=(batch // world.size, 3, SIZE, SIZE)).astype(np.float32)
    labels = draw.integers(0, CLASSES, len(images)).astype(np.int32)
    seconds = []
    for _ in range(steps + WARM_UP):
        world.barrier()
        began = time.perf_counter()
        step(images, labels, lr=0.01)
        world.barrier()
        seconds.append(time.perf_counter() - began)
    if world.rank == 0:
        sizes = [4 * int(np.prod(parameter.shape)) for parameter in optimizer.params]
        print(json.dumps({"step_s": statistics.median(seconds[WARM_UP:]), "gradient_bytes": sizes}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=NETS)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--shard_update", action="store_true")
    parser.add_argument("--json", help="write the report to this file")
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.steps, given.shard_update)
        return 0
    from cellwright.launch.bench.__main__ import main as bench

    return bench(["scaling", *(["--json", given.json] if given.json else [])])


if __name__ == "__main__":
    sys.exit(main())
