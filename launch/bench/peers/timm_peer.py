"""A network of timm, or (after a colon) of torchvision, channels_last: the time of a step and of an evaluation.

Run by an interpreter that has torch; it need not have anything of this project.
"""

import argparse
import json
import resource
import statistics
import sys
import time

sys.path.pop(0)  # this folder is no place for others' imports

import torch

WARM_UP = 2


def create(name):
    if name.startswith(":"):
        import torchvision

        settings = {"aux_logits": False, "init_weights": True} if name == ":googlenet" else {}
        return torchvision.models.get_model(name[1:], weights=None, **settings)
    import timm

    return timm.create_model(name, pretrained=False)


def timed(run, steps):
    """Returns the median seconds of the calls after the first few."""
    seconds = []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[WARM_UP:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", required=True)
    for name in ("batch", "size", "steps", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    given = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(given.threads)
    network = create(given.net).to(memory_format=torch.channels_last)
    images = torch.randn(given.batch, 3, given.size, given.size).to(memory_format=torch.channels_last)
    weights = torch.randn(given.batch, 1000)

    def step():
        network.zero_grad(set_to_none=True)
        (network(images) * weights).sum().backward()

    def evaluate():
        with torch.inference_mode():
            network(images)

    network.eval()
    evaluation = timed(evaluate, given.steps)
    network.train()
    report = {"eval_s": evaluation, "train_s": timed(step, given.steps)}
    report["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(report))


if __name__ == "__main__":
    main()
