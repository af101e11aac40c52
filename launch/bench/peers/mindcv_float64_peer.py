"""The numbers of one of MindCV's networks in float64, by PyTorch: what float32's are compared with.

Run by an interpreter that has torch, with MindCV on its path; it need not have MindSpore or anything of this project.
"""

import argparse
import importlib.util
import json
import pkgutil
import sys
from pathlib import Path

sys.path.pop(0)  # this folder is no place for others' imports

import numpy as np
import torch


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--net", required=True)
    parser.add_argument("--mindcv", required=True, help="folder of the package")
    parser.add_argument("--inputs", required=True, help="file with the network's parameters, images and weights")
    parser.add_argument("--samples", type=int, required=True, help="numbers of each gradient")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--arrays", required=True, help="file for the results")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.set_default_dtype(torch.float64)
    stand_in = _stand_in(given.mindcv)
    arrays = dict(np.load(given.inputs))
    images, weights = (torch.as_tensor(arrays.pop(name)).double() for name in ("images:", "weights:"))
    trainable = arrays.pop("trainable:")
    network = _create(given.net)
    parameters = dict(network.named_parameters(remove_duplicate=False))  # a cell with two names has either in MindSpore
    for name in arrays:
        parameters[name].data = torch.as_tensor(arrays[name]).double()
    if unset := set(network.parameters()) - {parameters[name] for name in arrays}:
        raise ValueError(f"{len(unset)} parameters of {given.net} are not among those of MindSpore")
    trained = [parameters[name] for name in trainable]
    found = [_numbers(network, stand_in.as_tensor(batch), weights, trained, given.samples) for batch in images]
    np.savez(given.arrays, **{name: np.stack([one[name] for one in found]) for name in found[0]})
    print(json.dumps({"gradients": len(trained)}))


def _numbers(network, images, weights, parameters, samples):
    """Returns the arrays that `mindcv_peer` gives of one batch of images."""
    with torch.no_grad():
        found = {"evaluation": _results(network.eval()(images))[0]}
    results = _results(network.train()(images))
    found["training"] = results[0].detach()
    gradients = torch.autograd.grad(sum((one * weights).sum() for one in results), parameters)
    for k, gradient in enumerate(gradients):
        flat = gradient.ravel()
        found[f"gradient{k}"] = flat[:: max(1, flat.numel() // samples)]
    return {name: np.asarray(array) for name, array in found.items()}


def _stand_in(mindcv):
    spec = importlib.util.spec_from_file_location("on_torch", Path(__file__).with_name("mindspore_on_torch.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.install(mindcv)
    return module


def _create(net):
    """Returns the network, from the one module of MindCV that has it."""
    package = sys.modules["mindcv.models"]
    for _, name, is_package in pkgutil.iter_modules(package.__path__):
        if not is_package and f"\ndef {net}(" in (Path(package.__path__[0]) / f"{name}.py").read_text():
            return getattr(importlib.import_module(f"mindcv.models.{name}"), net)(num_classes=1000, in_channels=3)
    raise ValueError(f"MindCV has no {net}")


def _results(results):
    return results if isinstance(results, tuple) else (results,)


if __name__ == "__main__":
    main()
