"""Prints the loss and the peak memory in bytes of one DenseNet gradient: python peak_memory.py RECOMPUTE (0 or 1)."""

import resource
import sys
from pathlib import Path

import mindspore as ms
import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]

from gradients import forward_and_gradients  # noqa: E402

from cellwright.nets import create_network  # noqa: E402

if __name__ == "__main__":
    ms.set_context(mode=ms.GRAPH_MODE, runtime_num_threads=1)  # one thread: one order of execution, one peak
    ms.set_seed(1)
    network = create_network("densenet121", 10, 64, recompute=sys.argv[1] == "1", blocks=(6, 16)).set_train(True)
    random = np.random.default_rng(0)
    images = random.normal(size=(64, 3, 64, 64)).astype(np.float32)
    constants = random.normal(size=(64, 10)).astype(np.float32)
    logits, gradients, _ = forward_and_gradients(network, images, constants)
    norm = sum(float(np.square(g, dtype=np.float64).sum()) for g in gradients.values()) ** 0.5
    print(float((logits * constants).sum()), norm, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
