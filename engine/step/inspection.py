"""Gradients for looking at: nothing is updated."""

import math

import mindspore as ms
import numpy as np
from mindspore import Tensor

from cellwright.engine.step.gradients import GradientGraph
from cellwright.engine.step.input_checks import in_one_line
from cellwright.engine.step.nested_batch import as_input
from cellwright.engine.step.statistics import Statistics


class Inspection:
    """`inspection(batch)` -> {parameter name: gradient}, numpy arrays, of a batch of tensors as forward takes it.

    A graph of its own, compiled at the first call; the network's statistics are afterwards what they were.
    """

    def __init__(self, forward, params, statistics):
        self.forward, self.params = forward, params
        self.graph = GradientGraph(forward, params)
        self.statistics = Statistics(statistics)

    def __call__(self, batch) -> dict:
        kept = self.statistics.flat()
        try:
            with in_one_line(batch, self.forward.names):
                _, gradients = self.graph(as_input(batch), Tensor(1.0, ms.float32))
        finally:
            self.statistics.load(kept)
        return {p.name: g.asnumpy() for p, g in zip(self.params, gradients)}


def norms_by_layer(gradients: dict) -> dict:
    """Returns {layer: Euclidean norm of its parameters' gradients} of {parameter name: gradient}."""
    squares: dict = {}
    for name, gradient in gradients.items():
        layer = name.rpartition(".")[0] or name
        squares[layer] = squares.get(layer, 0.0) + float(np.square(gradient, dtype=np.float64).sum())
    return {layer: math.sqrt(square) for layer, square in squares.items()}
