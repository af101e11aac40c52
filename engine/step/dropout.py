"""Dropout whose mask depends on (seed, layer, step, micro-batch, element) alone, so that a resumed run draws the
same.
"""

import itertools

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops

from cellwright.engine.step.precision import wrap_cells

_ODD = -1640531527  # 2**32 / golden ratio, as int32
_MICRO = 668265263  # another odd number: micro-batches of a step must not meet those of the next
_numbers = itertools.count()


class ResumableDropout(nn.Cell):
    """Zeroes each element with probability p in training and scales the rest by 1 / (1 - p); the identity otherwise.

    The random word of an element is a hash of its index and of this layer's number in `draws`, an int32 parameter that
    whoever trains the network sets before each forward pass. The framework's nn.Dropout keeps a hidden generator that
    no checkpoint holds.
    """

    def __init__(self, p, draws, layer):
        super().__init__(auto_prefix=False)
        self.p, self.layer = p, layer
        self.__dict__["draws"] = draws  # not a parameter of the network: no checkpoint of its weights shall hold it
        self.threshold = int(round(p * 2**24))

    def construct(self, x):
        if not self.training or self.p == 0.0:
            return x
        words = ops.arange(0, x.size, 1, dtype=ms.int32)
        words = _mix(words + _mix(self.draws[self.layer]))
        kept = ops.reshape(ops.bitwise_and(words, 0xFFFFFF) >= self.threshold, x.shape)
        return x * ops.cast(kept, x.dtype) * (1.0 / (1.0 - self.p))


def _mix(words):
    """Returns a 32-bit hash of int32 words: two rounds of xor-shift and multiply (Wellons' lowbias32)."""
    words = ops.bitwise_xor(words, ops.bitwise_and(ops.bitwise_right_shift(words, 16), 0xFFFF)) * 2146121005
    words = ops.bitwise_xor(words, ops.bitwise_and(ops.bitwise_right_shift(words, 15), 0x1FFFF)) * -2073254261
    return ops.bitwise_xor(words, ops.bitwise_and(ops.bitwise_right_shift(words, 16), 0xFFFF))


def _is_stock(cell):
    """False for a class with a `construct` of its own."""
    return isinstance(cell, nn.Dropout) and type(cell).construct is nn.Dropout.construct


def make_dropout_resumable(network):
    """Replaces every nn.Dropout within a network, in place; returns all its replacements, those of an earlier
    call too.
    """
    probabilities = []

    def count(cell):
        if _is_stock(cell):
            probabilities.append(float(cell.p if cell.p is not None else 1.0 - cell.keep_prob))
        return cell

    wrap_cells(network, (nn.Dropout,), count)
    if probabilities:
        name = f"dropout_draws{next(_numbers)}"
        draws = Parameter(Tensor(np.zeros(len(probabilities), np.int32)), name=name, requires_grad=False)
        layers = itertools.count()

        def replace(cell):
            if not _is_stock(cell):
                return cell
            layer = next(layers)
            return ResumableDropout(probabilities[layer], draws, layer).set_train(cell.training)

        wrap_cells(network, (nn.Dropout,), replace)
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, ResumableDropout)]


class Masks(nn.Cell):
    """Sets the draws of a network's dropouts for one step: `construct(steps, micro)`, int32 scalars.

    seed: each TrainOneStep of a network has its own, and sets the draws before it uses them: they do not disturb one
    another.
    """

    def __init__(self, dropouts, seed):
        super().__init__(auto_prefix=False)
        groups = {}
        for dropout in dropouts:
            groups.setdefault(id(dropout.draws), (dropout.draws, []))[1].append(dropout.layer)
        self.__dict__["draws"] = tuple(draws for draws, _ in groups.values())
        keys = itertools.count()
        # Parameters and no constants: ranks, each with a seed of its own, can then run one compiled graph.
        self.keys = ParameterTuple(
            Parameter(
                Tensor(np.array([_key(seed, next(keys)) for _ in range(draws.size)], np.int32)),
                name=f"dropout_keys{number}",
                requires_grad=False,
            )
            for number, draws in enumerate(self.draws)
        )

    def construct(self, steps, micro):
        word = steps * _ODD + micro * _MICRO
        for number in range(len(self.keys)):
            ops.assign(self.draws[number], self.keys[number] + word)
        return word


def _key(seed, layer):
    return np.random.SeedSequence([seed, layer]).generate_state(1, np.uint32).view(np.int32)[0]
