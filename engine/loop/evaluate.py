"""Exact evaluation: every sample counts once, whatever the batch size and the number of ranks."""

import json
from dataclasses import asdict, dataclass

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops

from cellwright.engine.step.compilations import compile_in_turn
from cellwright.engine.step.input_checks import check_labels
from cellwright.engine.step.instructions import limit_stock_instructions
from cellwright.engine.step.normalise_images import Normalise
from cellwright.engine.step.training_modes import TrainingModes
from cellwright.engine.storage.atomic_folder import whole_file

# Losses are summed as integers of this unit: integer sums do not depend on the order, so all rank counts agree.
_LOSS_UNIT = 2.0**-24
_LARGEST_LOSS = 2.0**20  # of an image; what is more counts as NaN: int64 holds the sum of half a million such


@dataclass(frozen=True)
class EvalResult:
    """Counts over the whole set, and the mean loss (NaN if any sample's loss is not finite). classes: how many there
    are, if that is known.
    """

    top1_correct: int
    top5_correct: int
    total: int
    loss: float
    classes: int | None = None

    @property
    def top1(self) -> float:
        return self.top1_correct / self.total

    @property
    def top5(self) -> float:
        return self.top5_correct / self.total

    def write(self, path) -> None:
        """Writes the four numbers to a JSON file, whole or not at all."""
        with whole_file(path) as file:
            json.dump(self.numbers(), file)
            file.write("\n")

    @property
    def score(self) -> float:
        """What ranks checkpoints: top-1, higher is better."""
        return self.top1

    def numbers(self) -> dict:
        """Returns the four numbers as a dict."""
        return {name: value for name, value in asdict(self).items() if name != "classes"}

    def shares(self) -> list:
        """Returns the lines "top-1 91.00% (91/100)" and, from six classes on, where it says something, that
        of top-5.
        """
        counts = {"top-1": self.top1_correct, "top-5": self.top5_correct}
        return [
            f"{name} {100 * count / self.total:.2f}% ({count}/{self.total})"
            for name, count in counts.items()
            if name == "top-1" or self.classes is None or self.classes > 5
        ]

    def line(self) -> str:
        """Returns the counts and the loss as one line."""
        return f"{'  '.join(self.shares())}  loss {self.loss:.4f}"

    def zoo_lines(self) -> list:
        """Returns the two lines that the zoo's evaluation scripts print."""
        return [
            f"after allreduce eval: {name}_correct={correct}, tot={self.total}, acc={100.0 * correct / self.total:.2f}%"
            for name, correct in (("top1", self.top1_correct), ("top5", self.top5_correct))
        ]


class PlacesAndLosses(nn.Cell):
    """Returns (2, N) float32: for each sample the place of the true class among the logits (0 is best), and its loss.

    Among equal logits the lower class index wins; a row with a number that is not finite gets place K.
    """

    def __init__(self, network, loss, normalise):
        super().__init__(auto_prefix=False)
        self.network, self.loss = network, loss
        self.normalise = Normalise(*normalise) if normalise is not None else None

    @ms.jit
    def construct(self, images, labels):
        if self.normalise is not None:
            images = self.normalise(images)
        logits = ops.cast(self.network(images), ms.float32)
        classes = ops.arange(0, logits.shape[1], 1, dtype=ms.int32)
        column = ops.expand_dims(labels, 1)
        is_label = classes == column
        true_logit = ops.select(is_label, logits, ops.zeros_like(logits)).sum(axis=1, keepdims=True)
        ahead = ops.logical_or(logits > true_logit, ops.logical_and(logits == true_logit, classes < column))
        place = ops.cast(ahead, ms.float32).sum(axis=1)
        place = ops.select(ops.isfinite(logits).all(axis=1), place, ops.zeros_like(place) + logits.shape[1])
        return ops.stack((place, self.loss.per_sample(logits, labels)))


class Evaluator:
    """Evaluates a network over batches: `evaluator(batches)` -> EvalResult, the same on every rank.

    batches: an iterable of (images, labels[, weights]) of this rank's share; samples of weight 0 are padding. A batch
    that is smaller than the first one is padded here. Ranks may hold different numbers of batches. world: `.allreduce`
    of an int64 numpy array; None for one rank. in_turn: see TrainOneStep.compile_in, for the first evaluation.
    """

    def __init__(self, network: nn.Cell, loss: nn.Cell, *, normalise=None, world=None, in_turn=None):
        limit_stock_instructions(network)
        self.graph = PlacesAndLosses(network, loss, normalise)
        self.classes = getattr(loss, "num_classes", None)
        self.world, self.in_turn = world, in_turn

    def __call__(self, batches) -> EvalResult:
        counts = np.zeros(5, np.int64)  # top-1, top-5, samples, loss in units, losses that are not finite
        size = None
        with TrainingModes(self.graph):
            self.graph.set_train(False)
            for batch in batches:
                images, labels, weights = unpack(batch)
                check_labels(labels, weights, self.graph.loss)
                size = size or len(labels)
                counts += self._count(images, labels, weights, max(size, len(labels)))
            self._compiling()  # a rank without a batch takes its turn too
        if self.world is not None:
            counts = self.world.allreduce(counts)
        top1, top5, total, loss, broken = (int(count) for count in counts)
        if total == 0:
            raise ValueError("evaluation got no sample of weight > 0")
        mean = float("nan") if broken else loss * _LOSS_UNIT / total
        return EvalResult(top1, top5, total, mean, self.classes)

    def _compiling(self, *tensors):
        """Compiles for these tensors, if any, the first time."""
        compile_in_turn(self.in_turn, self.graph, *tensors)
        self.in_turn = None

    def _count(self, images, labels, weights, size):
        counted = weights > 0
        missing = size - len(labels)
        if missing:
            images = np.concatenate([images, np.zeros((missing,) + images.shape[1:], images.dtype)])
            labels = np.concatenate([labels, np.zeros(missing, labels.dtype)])
        tensors = [Tensor.from_numpy(np.ascontiguousarray(array)) for array in (images, np.int32(labels))]
        self._compiling(*tensors)
        out = self.graph(*tensors).asnumpy()
        place, losses = out[:, : len(counted)][:, counted]
        finite = np.abs(losses) <= _LARGEST_LOSS  # false for NaN
        units = np.rint(losses[finite].astype(np.float64) / _LOSS_UNIT).astype(np.int64).sum()
        return np.array([(place < 1).sum(), (place < 5).sum(), counted.sum(), units, (~finite).sum()], np.int64)


def unpack(batch):
    """Returns (images, labels, weights) of a batch of two or three arrays; absent weights are ones."""
    images, labels, *rest = batch
    return images, labels, rest[0] if rest else np.ones(len(labels), np.float32)
