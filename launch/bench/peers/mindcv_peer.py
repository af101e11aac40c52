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
    parser.add_argument("--draws", type=int, default=1, help="of images, of which the numbers are compared")
    parser.add_argument("--inputs", default="", help="file for what goes in, for another to compute the same")
    given = parser.parse_args()

    from cellwright.launch.host.runtime import quiet_environment, start_mindspore

    threads = len(os.sched_getaffinity(0))
    quiet_environment(threads)
    start_mindspore("CPU", 0, threads, seed=1)
    from mindcv.models import create_model
    from mindspore import Tensor

    from cellwright.engine.profiling import measure_peaks

    np.random.seed(1)
    network = create_model(given.net, num_classes=1000)
    if not given.dropout:
        _drop_nothing(network)
    draw = np.random.default_rng(0)
    images = draw.normal(size=(given.batch, 3, given.size, given.size)).astype(np.float32)
    weights = Tensor(draw.normal(size=(given.batch, 1000)).astype(np.float32))
    more = draw.normal(size=(given.draws - 1, *images.shape)).astype(np.float32)
    images = [Tensor(batch) for batch in (images, *more)]
    if given.inputs:
        _keep_inputs(network, images, weights, given.inputs)
    report = {}
    if given.variant == "ours":
        report |= _accelerate(network, images[0].shape)
    found, seconds = _evaluation(network, images, given.steps)
    report["eval_s"] = seconds
    gradients, seconds = _training(network, images, weights, given.steps)
    report["train_s"] = seconds
    report["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if given.variant == "ours":
        report["attainable_flops"] = 1e9 * measure_peaks(threads)["gflops"]
    np.savez(given.arrays, evaluation=found, **gradients)
    print(json.dumps(report))


def _drop_nothing(network):
    from mindspore import nn

    for _, cell in network.cells_and_names():
        if isinstance(cell, nn.Dropout):
            cell.p, cell.keep_prob = 0.0, 1.0
        elif hasattr(cell, "keep_prob"):  # DropPath
            cell.keep_prob = 1.0


def _keep_inputs(network, images, weights, file):
    arrays = {parameter.name: _array(parameter) for parameter in network.get_parameters()}
    arrays["trainable:"] = np.array([parameter.name for parameter in network.trainable_params()])
    arrays["images:"] = np.stack([batch.asnumpy() for batch in images])
    np.savez(file, **arrays, **{"weights:": weights.asnumpy()})


def _accelerate(network, shape):
    """Replaces what can be, and returns how much that is."""
    from cellwright.kernels.compiler import accelerate, explain
    from cellwright.launch.host.runtime import allow_all_instructions

    allow_all_instructions()  # as launch does it: what stays stock is limited again
    explanation = explain(accelerate(network), shape)
    programs = sum(part.replaced for part in explanation.parts)
    return {"programs": programs, "share": explanation.share, "flops": shape[0] * explanation.flops}


def _timed(run, steps):
    """Returns the median seconds of the calls after the first few."""
    seconds = []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[WARM_UP:])


def _evaluation(network, images, steps):
    network.set_train(False)
    found = np.stack([_array(network(batch)) for batch in images])
    return found, _timed(lambda: network(images[0]).asnumpy(), steps)


def _training(network, images, weights, steps):
    from cellwright.launch.bench.peers.mindcv_cells import Step, TimedStep

    network.set_train(True)
    step = Step(network, weights, network.trainable_params())
    found = []
    for batch in images:
        (_, result), gradients = step(batch)
        found.append({"training": _array(result), **{f"gradient{k}": _sampled(g) for k, g in enumerate(gradients)}})
    timed = TimedStep(step)
    seconds = _timed(lambda: timed(images[0]).asnumpy(), steps)
    return {name: np.stack([one[name] for one in found]) for name in found[0]}, seconds


def _array(tensor):
    return tensor.asnumpy().copy()


def _sampled(gradient):
    flat = gradient.asnumpy().ravel()
    return flat[:: max(1, flat.size // SAMPLES)].copy()


if __name__ == "__main__":
    main()
