"""Evaluation of any outputs by any metrics: every sample counts once, whatever the number of ranks."""

import json
from dataclasses import dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from cellwright.engine.step.forward import cells_of
from cellwright.engine.step.nested_batch import as_input, as_parts, as_tensor, map_leaves
from cellwright.engine.step.training_modes import TrainingModes
from cellwright.engine.storage.atomic_folder import whole_file

# Sums are integers of this unit: they do not depend on the order, so all rank counts agree to the bit.
_UNIT = 2.0**-24
_MOST = 2.0**38  # of a sum, over all ranks: int64 holds no more of these units


class Metric:
    """Base of a metric that is more than a mean over samples; override both methods.

    `sums(outputs, batch)`: numbers to be added up over batches and ranks, an array of the same shape every time;
    outputs and batch are numpy arrays. `result(total)`: the metric, from their sum over all batches, float64.
    """

    def sums(self, outputs, batch) -> np.ndarray:
        raise NotImplementedError

    def result(self, total: np.ndarray) -> float:
        raise NotImplementedError


class MeanMetric(Metric):
    """The mean over samples of function(outputs, batch) -> (N,) values, weighted by weights(batch) -> (N,) (None:
    all one).
    """

    def __init__(self, function, weights=None):
        self.function, self.weights = function, weights

    def sums(self, outputs, batch):
        values = np.asarray(self.function(outputs, batch), np.float64).reshape(-1)
        weights = np.ones(len(values)) if self.weights is None else np.asarray(self.weights(batch), np.float64)
        counted = weights != 0  # what padding gives may be anything
        return np.array([(values * weights)[counted].sum(), weights.sum()])

    def result(self, total):
        if total[1] == 0:
            raise ValueError("evaluation got no sample of weight > 0")
        return float(total[0] / total[1])


@dataclass(frozen=True)
class MetricResult:
    """values: {metric: number}. score: what ranks checkpoints, higher is better."""

    values: dict
    score: float

    def numbers(self) -> dict:
        """Returns the metrics as a dict."""
        return dict(self.values)

    def line(self) -> str:
        """Returns the metrics as one line."""
        return "  ".join(f"{name} {value:.4g}" for name, value in self.values.items())

    def zoo_lines(self) -> list:
        """Returns that line; the zoo's scripts have none for other metrics than top-1 and top-5."""
        return [self.line()]

    def write(self, path) -> None:
        """Writes the metrics to a JSON file, whole or not at all."""
        with whole_file(path) as file:
            file.write(json.dumps(self.values) + "\n")


class Outputs(nn.Cell):
    """What a function returns for a batch, as a graph."""

    def __init__(self, forward):
        super().__init__(auto_prefix=False)
        self.forward = forward

    @ms.jit
    def construct(self, batch):
        return self.forward(*batch)


class MetricEvaluator:
    """Evaluates a function by metrics: `evaluator(batches)` -> MetricResult, the same on every rank.

    forward: a cell or function, *batch -> outputs, any nesting of tensors; its cells are set to evaluation meanwhile,
    and then to what they were, each of them. metrics: {name: a Metric, or a function (outputs, batch) -> (N,) values
    whose mean is asked for}. weights: function of a batch -> (N,), 0 for padding, for those means. best: the metric
    that ranks checkpoints (default: the first), "-name" where less is better. world: `.allreduce` of an int64 numpy
    array; None for one rank. A batch of another shape compiles again. A metric whose sums are not finite, or beyond
    2.7e11, is NaN.

    Raises ValueError for a `best` that is no metric.
    """

    def __init__(self, forward, metrics: dict, *, weights=None, best: str | None = None, world=None):
        self.graph = Outputs(forward)
        self.cells = cells_of(forward)
        self.metrics = {
            name: metric if isinstance(metric, Metric) else MeanMetric(metric, weights)
            for name, metric in metrics.items()
        }
        self.best: str = best if best is not None else next(iter(metrics), "")
        if self.best.removeprefix("-") not in metrics:
            raise ValueError(f"best = {best!r}: must be one of {', '.join(metrics)}, or -NAME where less is better")
        self.world = world

    def __call__(self, batches) -> MetricResult:
        sums: dict = {}
        with TrainingModes(self.graph, *self.cells):
            for cell in (self.graph, *self.cells):
                cell.set_train(False)
            for batch in batches:
                batch = as_parts(batch)
                outputs = map_leaves(_as_array, self.graph(as_input(map_leaves(as_tensor, batch))))
                arrays = map_leaves(_as_array, batch)
                for name, metric in self.metrics.items():
                    found = np.asarray(metric.sums(outputs, arrays), np.float64)
                    sums[name] = _added(sums.get(name), found, _MOST / getattr(self.world, "size", 1))
        values = {name: self._result(name, sums.get(name)) for name in self.metrics}
        score = values[self.best.removeprefix("-")] * (-1.0 if self.best.startswith("-") else 1.0)
        return MetricResult(values, score)

    def _result(self, name, sums):
        if sums is None:
            raise ValueError("evaluation got no batch on this rank; give every rank one, of weight 0 if need be")
        if self.world is not None:
            sums = self.world.allreduce(np.ascontiguousarray(sums))
        total = np.where(sums[1] > 0, np.nan, sums[0] * _UNIT)
        return float(self.metrics[name].result(total))


def _added(sums, found, most):
    """Sums and how many of their numbers are lost, (2, ...) int64, with those of a batch, float64; what is not finite
    or leads beyond `most` is lost.
    """
    sums = np.zeros((2, *found.shape), np.int64) if sums is None else sums
    held = np.abs(found) + np.abs(sums[0] * _UNIT) <= most  # false for NaN
    return sums + np.stack([np.rint(np.where(held, found, 0.0) / _UNIT).astype(np.int64), ~held])


def _as_array(leaf):
    return leaf.asnumpy() if isinstance(leaf, Tensor) else np.asarray(leaf)
