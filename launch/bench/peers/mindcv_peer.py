"""One of MindCV's networks in this process: its numbers, seconds of a step and of an evaluation, peak of memory."""

import argparse
import json
import os
import resource
import statistics
import time

import numpy as np

WARM_UP = 2
SAMPLES = 4096  # numbers of each gradient that are compared


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", required=True)
    parser.add_argument("--variant", choices=("ours", "stock"), required=True)
    for name in ("batch", "size", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dropout", action="store_true", help="leave it on")
    parser.add_argument("--arrays", required=True, help="file for the results that are compared")
    given = parser.parse_args()

    from cellwright.launch.host.runtime import quiet_environment, start_mindspore

    threads = len(os.sched_getaffinity(0))
    quiet_environment(threads)
    start_mindspore("CPU", 0, threads, seed=1)
    from mindcv.models import create_model
    from mindspore import Tensor

    np.random.seed(1)
    network = create_model(given.net, num_classes=1000)
    if not given.dropout:
        _drop_nothing(network)
    draw = np.random.default_rng(0)
    images = Tensor(draw.normal(size=(given.batch, 3, given.size, given.size)).astype(np.float32))
    weights = Tensor(draw.normal(size=(given.batch, 1000)).astype(np.float32))
    report = {}
    if given.variant == "ours":
        report |= _accelerate(network, images.shape)
    found, seconds = _evaluation(network, images, given.steps)
    report["eval_s"] = seconds
    gradients, seconds = _training(network, images, weights, given.steps)
    report["train_s"] = seconds
    report["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.savez(given.arrays, evaluation=found, **gradients)
    print(json.dumps(report))


def _drop_nothing(network):
    from mindspore import nn

    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Dropout):
            cell.p, cell.keep_prob = 0.0, 1.0
        elif hasattr(cell, "keep_prob"):  # DropPath
            cell.keep_prob = 1.0


def _accelerate(network, shape):
    """Replaces what can be, and returns how much that is."""
    from cellwright.kernels.compiler import accelerate, explain
    from cellwright.launch.host.runtime import allow_all_instructions

    allow_all_instructions()  # as launch does it: what stays stock is limited again
    explanation = explain(accelerate(network), shape)
    return {"programs": sum(part.replaced for part in explanation.parts), "share": explanation.share}


def _timed(run, steps):
    """Returns what the first call gives, and the median seconds of the calls after the first few."""
    first, seconds = None, []
    for number in range(WARM_UP + steps):
        began = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - began)
        first = first if number else result
    return first, statistics.median(seconds[WARM_UP:])


def _evaluation(network, images, steps):
    network.set_train(False)
    return _timed(lambda: network(images).asnumpy(), steps)


def _training(network, images, weights, steps):
    from cellwright.launch.bench.peers.mindcv_cells import Step, TimedStep

    network.set_train(True)
    step = Step(network, weights, network.trainable_params())
    (_, result), gradients = step(images)
    found = {"training": _array(result), **{f"gradient{k}": _sampled(g) for k, g in enumerate(gradients)}}
    timed = TimedStep(step)
    _, seconds = _timed(lambda: timed(images).asnumpy(), steps)
    return found, seconds


def _array(tensor):
    return tensor.asnumpy().copy()


def _sampled(gradient):
    flat = gradient.asnumpy().ravel()
    return flat[:: max(1, flat.size // SAMPLES)].copy()


if __name__ == "__main__":
    main()
