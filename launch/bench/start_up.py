"""Seconds from the start of a process to the end of its first step: cold, and with the graphs of an earlier start.

    python -m launch.bench start-up [--nets tinydarknet] [--json FILE]

Ours and stock MindSpore, both with MindSpore's compile cache in a folder of their own, empty at first. Each start is
a new process; the files of Python and MindSpore are in the page cache after the first one, which is not counted.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from cellwright.launch.bench import own_process
from cellwright.launch.bench.step import CLASSES, NETS, SIZE, chosen
from cellwright.launch.settings.flag_parser import setting

VARIANTS = ("ours", "mindspore")


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    nets: str = setting("tinydarknet,densenet121", f"comma-separated, of {', '.join(NETS)}")
    rounds: int = setting(2, "cold and warm starts of each variant, in turn")
    size: int = setting(SIZE, "pixels along each side of the images")

    def __post_init__(self):
        for name in chosen(self.nets, NETS):
            if name not in NETS:
                raise ValueError(f"--nets {name!r}: known are {', '.join(NETS)}")
        for name, least in (("rounds", 1), ("size", 32)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")


def measure(settings):
    """Returns the seconds of cold and warm starts, and the ratios of stock MindSpore to ours."""
    results, ratios = [], {}
    for net in chosen(settings.nets, NETS):
        found = {}
        with tempfile.TemporaryDirectory(prefix="bench-start-up-") as name:
            start(net, "ours", Path(name) / "not counted", settings.size)
            for turn in range(settings.rounds):
                for variant in VARIANTS:
                    cache = Path(name) / f"{variant}{turn}"
                    for kind in ("cold", "warm"):
                        found.setdefault((variant, kind), []).append(start(net, variant, cache, settings.size))
        medians = {}
        for (variant, kind), reports in found.items():
            whole = {part: statistics.median(report[part] for report in reports) for part in reports[0]}
            medians[variant, kind] = whole["start_s"]
            results.append({"name": f"{net}: {variant}, {kind}", "value": whole["start_s"], "unit": "s"})
            results.append(
                {"name": f"{net}: {variant}, {kind}, of it the first step", "value": whole["first_step_s"], "unit": "s"}
            )
        for kind in ("cold", "warm"):
            ratios[f"{net}: mindspore / ours, {kind}"] = medians["mindspore", kind] / medians["ours", kind]
        ratios[f"{net}: ours, cold / warm"] = medians["ours", "cold"] / medians["ours", "warm"]
    return {"results": results, "ratios": ratios}


def start(net, variant, cache, size):
    """Returns {"start_s", "first_step_s"} of a process that makes one step; its graphs are kept in the folder
    `cache`."""
    line = [
        sys.executable,
        "-m",
        "cellwright.launch.bench.start_up",
        "--worker",
        variant,
        "--net",
        net,
        "--cache",
        str(cache),
        "--size",
        str(size),
    ]
    began = time.perf_counter()
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        told = process.stdout.readline()  # the process says so when the step is done; its end does not count
        seconds = time.perf_counter() - began
        errors = process.communicate()[1]
    if process.returncode or not told.strip():
        raise RuntimeError(f"{net}, {variant}: {(errors.strip().splitlines() or ['failed'])[-1]}")
    return {"start_s": seconds, **json.loads(told)}


def worker(variant, net, cache, size):
    """Makes one step in this process and prints what it took."""
    from cellwright.launch.host.runtime import use_compile_cache

    own_process.start(variant)
    use_compile_cache(cache)
    import mindspore as ms
    import numpy as np

    from cellwright.launch.bench.step import _own_step, _stock_step
    from cellwright.nets import create_network

    name, settings, batch = NETS[net]
    network = create_network(name, CLASSES, size, **settings)
    images = np.random.default_rng(0).normal(size=(batch, 3, size, size)).astype(np.float32)
    labels = np.arange(batch, dtype=np.int32) % CLASSES
    step = _own_step(network, True) if variant == "ours" else _stock_step(ms, network)
    began = time.perf_counter()
    step(images, labels)
    print(json.dumps({"first_step_s": time.perf_counter() - began}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=VARIANTS, required=True)
    parser.add_argument("--net", choices=NETS, required=True)
    parser.add_argument("--cache", required=True)
    parser.add_argument("--size", type=int, required=True)
    given = parser.parse_args()
    worker(given.worker, given.net, given.cache, given.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
