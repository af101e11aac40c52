"""Time and memory of a training step: ours, ours with stock kernels, stock MindSpore, PyTorch.

    python -m launch.bench step [--nets densenet121,vgg16-cifar] [--amp_level O2] [--torch PYTHON] [--json FILE]

With --amp_level O2 ours computes in bfloat16, PyTorch by its autocast to it, and ours in float32 runs beside them.
Every variant runs in a process of its own, in turn, round after round (A B C A B C), on the same cores; the figure of a
variant is the median over its rounds of the round's median step. PyTorch takes part where an interpreter has it.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cellwright.launch.bench import own_process
from cellwright.launch.settings.flag_parser import setting

# name -> (network, its settings, images a step)
NETS = {
    "densenet121": ("densenet121", {}, 16),
    "tinydarknet": ("tinydarknet", {}, 16),
    "genet-theta-minus": ("genet", {"extra": False, "mlp": False}, 16),
    "genet-theta-plus": ("genet", {"extra": True, "mlp": True}, 16),
    "vgg16-cifar": ("vgg16", {"batch_norm": True}, 8),
    "vgg16-imagenet": ("vgg16", {}, 8),
}
OURS = ("ours", "ours stock", "mindspore")
FLOAT32 = "ours float32"  # with --amp_level O2
TORCH = ("eager", "channels_last", "compiled")
SIZE, CLASSES, WARM_UP = 224, 1000, 2


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    nets: str = setting("all", f"comma-separated, of {', '.join(NETS)}")
    variants: str = setting("all", f"comma-separated, of {', '.join(OURS + TORCH)}")
    amp_level: str = setting("O0", "O0: float32; O2: bfloat16")
    rounds: int = setting(2, "processes of each variant")
    steps: int = setting(5, "timed steps of a process, after two that are not")
    batch: int | None = setting(None, "images of a step; none: 16, and 8 for VGG16", None, "N")
    torch: str = setting("", "Python interpreter that has PyTorch; default: this one, if it has")

    def __post_init__(self):
        for name, known in (("nets", NETS), ("variants", OURS + TORCH)):
            for value in chosen(getattr(self, name), known):
                if value not in known:
                    raise ValueError(f"--{name} {value!r}: known are {', '.join(known)}")
        if self.amp_level not in ("O0", "O2"):
            raise ValueError(f"--amp_level {self.amp_level!r}: O0 and O2 are measured")
        for name in ("rounds", "steps", "batch"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")


def chosen(text, known):
    """Returns the names in a comma-separated list; all known ones for `all`."""
    return list(known) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]


def measure(settings):
    """Returns the results of all variants of all networks, and the ratios of ours to the best of the others."""
    results, ratios = [], {}
    variants = chosen(settings.variants, OURS + TORCH)
    interpreter = settings.torch or sys.executable
    if settings.amp_level != "O0":  # stock operators have no bfloat16
        variants = ["ours", FLOAT32, *(variant for variant in variants if variant in TORCH)]
    if any(variant in TORCH for variant in variants) and not _has_torch(interpreter):
        variants = [variant for variant in variants if variant not in TORCH]
    for net in chosen(settings.nets, NETS):
        found = {variant: [] for variant in variants}
        for _ in range(settings.rounds):
            for variant in variants:
                report = run_variant(net, variant, settings, interpreter)
                if report:
                    found[variant].append(report)
        medians = {}
        for variant, reports in found.items():
            if not reports:
                continue
            summary = {name: statistics.median(report[name] for report in reports) for name in reports[0]}
            medians[variant] = summary
            images = settings.batch or NETS[net][2]
            results += [
                {"name": f"{net}: {variant}", "value": images / summary["step_s"], "unit": "images/s"},
                {"name": f"{net}: {variant}, processor time", "value": 1e3 * summary["cpu_s"], "unit": "ms a step"},
                {"name": f"{net}: {variant}, peak memory", "value": summary["peak_mib"], "unit": "MiB"},
                {"name": f"{net}: {variant}, first step", "value": summary["first_s"], "unit": "s"},
            ]
            if "outside_graph" in summary:
                share = 100 * summary["outside_graph"]
                results.append({"name": f"{net}: {variant}, outside the graph", "value": share, "unit": "% of a step"})
        others = [variant for variant in medians if variant != "ours"]
        if "ours" in medians and others:
            best = min(others, key=lambda variant: medians[variant]["step_s"])
            ratios[f"{net}: ours / {best}"] = medians[best]["step_s"] / medians["ours"]["step_s"]
        for other in ("ours stock", "mindspore", FLOAT32):
            if "ours" in medians and other in medians:
                ratios[f"{net}: ours / {other}, speed"] = medians[other]["step_s"] / medians["ours"]["step_s"]
                ratios[f"{net}: ours / {other}, memory"] = medians["ours"]["peak_mib"] / medians[other]["peak_mib"]
    return {"results": results, "ratios": ratios}


def run_variant(net, variant, settings, interpreter):
    """Returns the report of one process, or None (and says so) if it failed."""
    threads = len(os.sched_getaffinity(0))
    if variant in TORCH:
        script = str(Path(__file__).with_name("peers") / "torch_peer.py")
        line = [interpreter, script, "--net", net, "--variant", variant, "--threads", threads]
    else:
        line = [sys.executable, "-m", "cellwright.launch.bench.step", "--worker", variant, "--net", net]
    line += ["--batch", settings.batch or NETS[net][2], "--steps", settings.steps]
    line += ["--amp_level", "O0" if variant == FLOAT32 else settings.amp_level]
    return own_process.report(line, f"{net}, {variant}")


def _has_torch(interpreter):
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is None)"
    if subprocess.run([interpreter, "-c", code], check=False, capture_output=True).returncode == 0:
        return True
    sys.stderr.write(f"{interpreter} has no torch: PyTorch is left out\n")
    return False


def worker(variant, net, batch, steps, amp_level):
    """Times the steps of a MindSpore variant in this process and prints the report."""
    own_process.start("ours" if variant == FLOAT32 else variant)
    import mindspore as ms
    import numpy as np

    from cellwright.nets import create_network

    name, settings, _ = NETS[net]
    network = create_network(name, CLASSES, SIZE, **settings)
    draw = np.random.default_rng(0)
    images = draw.normal(size=(batch, 3, SIZE, SIZE)).astype(np.float32)
    labels = draw.integers(0, CLASSES, batch).astype(np.int32)
    step = (
        _stock_step(ms, network) if variant == "mindspore" else _own_step(network, variant != "ours stock", amp_level)
    )
    seconds, inside, busy = [], [], []
    for _ in range(steps + WARM_UP):
        began, worked = time.perf_counter(), time.process_time()
        inside.append(step(images, labels))
        seconds.append(time.perf_counter() - began)
        busy.append(time.process_time() - worked)
    report = {"first_s": seconds[0], "step_s": statistics.median(seconds[WARM_UP:]), "best_s": min(seconds[WARM_UP:])}
    report["cpu_s"] = statistics.median(busy[WARM_UP:])
    report["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if variant != "mindspore":
        report["outside_graph"] = 1 - sum(inside[WARM_UP:]) / sum(seconds[WARM_UP:])
    print(json.dumps(report))


def _own_step(network, programs, amp_level="O0"):
    """A step with the engine that returns the seconds inside its graph."""
    from cellwright.engine import Momentum, SoftmaxCrossEntropy, TrainOneStep

    momentum = finite = None
    if programs:
        from cellwright.kernels.compiler import accelerate
        from cellwright.kernels.nodes import AllFinite, MomentumStep

        accelerate(network)
        momentum, finite = MomentumStep, AllFinite()
    optimizer = Momentum(network.trainable_params(), 0.9, 1e-4, kernel=momentum)
    step = TrainOneStep(network, SoftmaxCrossEntropy(CLASSES), optimizer, finite_kernel=finite, amp_level=amp_level)
    run, spent = step._run, []

    def timed(*arguments):
        began = time.perf_counter()
        result = run(*arguments)
        spent.append(time.perf_counter() - began)
        return result

    step._run = timed

    def once(images, labels):
        step(images, labels, lr=0.01)
        return spent[-1]

    return once


def _stock_step(ms, network):
    """MindSpore's own cells for the same step."""
    from mindspore import nn

    loss = nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean")
    optimizer = nn.Momentum(network.trainable_params(), 0.01, 0.9, 1e-4)
    cell = nn.TrainOneStepCell(nn.WithLossCell(network, loss), optimizer)
    cell.set_train(True)

    def once(images, labels):
        cell(ms.Tensor(images), ms.Tensor(labels)).asnumpy()

    return once


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=(*OURS, FLOAT32))
    parser.add_argument("--net", choices=NETS)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--amp_level", choices=("O0", "O2"), default="O0")
    parser.add_argument("--json", help="write the report to this file")
    given = parser.parse_args()
    if given.worker:
        worker(given.worker, given.net, given.batch, given.steps, given.amp_level)
        return 0
    from cellwright.launch.bench.__main__ import main as bench

    return bench(["step", "--amp_level", given.amp_level, *(["--json", given.json] if given.json else [])])


if __name__ == "__main__":
    sys.exit(main())
