"""Images per second of an evaluation: ours, ours with stock kernels, and MindSpore's `Model.eval` on the same batches.

    python -m launch.bench eval [--nets densenet121,vgg16-cifar] [--json FILE]

Every variant runs in a process of its own, in turn, round after round; the batches lie in memory, so that no loader
is measured. The figure is the median over the rounds of the quickest of a process's passes.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass

from cellwright.launch.bench import own_process
from cellwright.launch.bench.step import CLASSES, NETS, OURS, SIZE, chosen
from cellwright.launch.settings.flag_parser import setting


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    nets: str = setting("all", f"comma-separated, of {', '.join(NETS)}")
    rounds: int = setting(2, "processes of each variant, in turn")
    batches: int = setting(4, "batches of a pass")
    passes: int = setting(2, "timed passes of a process, after one that is not")
    size: int = setting(SIZE, "pixels along each side of the images")

    def __post_init__(self):
        for name in chosen(self.nets, NETS):
            if name not in NETS:
                raise ValueError(f"--nets {name!r}: known are {', '.join(NETS)}")
        for name, least in (("rounds", 1), ("batches", 1), ("passes", 1), ("size", 32)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")


def measure(settings):
    """Returns images/s of all variants of all networks, and the ratios of ours to the others."""
    results, ratios = [], {}
    for net in chosen(settings.nets, NETS):
        rates = {variant: [] for variant in OURS}
        for _ in range(settings.rounds):
            for variant in OURS:
                numbers = [f"--{name}={getattr(settings, name)}" for name in ("batches", "passes", "size")]
                line = [
                    sys.executable,
                    "-m",
                    "cellwright.launch.bench.eval",
                    "--worker",
                    variant,
                    "--net",
                    net,
                    *numbers,
                ]
                report = own_process.report(line, f"{net}, {variant}")
                if report:
                    rates[variant].append(report["images_per_s"])
        medians = {variant: statistics.median(values) for variant, values in rates.items() if values}
        for variant, rate in medians.items():
            results.append({"name": f"{net}: {variant}", "value": rate, "unit": "images/s", "rounds": rates[variant]})
        for other in OURS[1:]:
            if "ours" in medians and other in medians:
                ratios[f"{net}: ours / {other}"] = medians["ours"] / medians[other]
    return {"results": results, "ratios": ratios}


def worker(variant, net, batches, passes, size):
    """Times the passes of one variant in this process and prints the report."""
    own_process.start(variant)
    import numpy as np

    from cellwright.nets import create_network

    name, settings, batch = NETS[net]
    network = create_network(name, CLASSES, size, **settings)
    draw = np.random.default_rng(0)
    images = draw.normal(size=(batch, 3, size, size)).astype(np.float32)
    labels = draw.integers(0, CLASSES, batch).astype(np.int32)
    found = [(images, labels)] * batches
    once = _stock_pass(network, found) if variant == "mindspore" else _own_pass(network, found, variant == "ours")
    seconds = []
    for _ in range(passes + 1):
        began = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"images_per_s": batches * batch / min(seconds[1:]), "first_s": seconds[0]}))


def _own_pass(network, batches, programs):
    from cellwright.engine import Evaluator, SoftmaxCrossEntropy

    if programs:
        from cellwright.kernels.compiler import accelerate

        accelerate(network)
    evaluator = Evaluator(network, SoftmaxCrossEntropy(CLASSES))
    return lambda: evaluator(batches)


def _stock_pass(network, batches):
    import mindspore as ms
    import mindspore.dataset as ds
    from mindspore import nn

    def source():
        yield from batches

    data = ds.GeneratorDataset(source, ["images", "labels"], shuffle=False)
    metrics = {"top1": nn.TopKCategoricalAccuracy(1), "top5": nn.TopKCategoricalAccuracy(5), "loss": nn.Loss()}
    model = ms.Model(network, nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction="mean"), metrics=metrics)
    return lambda: model.eval(data, dataset_sink_mode=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worker", choices=OURS, required=True)
    parser.add_argument("--net", choices=NETS, required=True)
    for name in ("batches", "passes", "size"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    worker(given.worker, given.net, given.batches, given.passes, given.size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
