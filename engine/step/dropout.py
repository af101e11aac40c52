"""Dropout whose mask depends on (seed, layer, step, element) alone, so that a resumed run draws the same masks."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from cellwright.engine.step.precision import wrap_cells


class StepCounter(nn.Cell):
    """Counts the steps taken, skipped ones included; `construct(after)` adds one once `after` is computed."""

    def __init__(self):
        super().__init__(auto_prefix=False)
        self.steps = Parameter(Tensor(0, ms.int32), name="steps", requires_grad=False)

    def construct(self, after):
        return ops.assign_add(self.steps, ops.depend(Tensor(1, ms.int32), after))


class ResumableDropout(nn.Cell):
    """Zeroes each element with probability p in training and scales the rest by 1 / (1 - p); the identity otherwise.

    The random word of an element is a hash of its index and of a key drawn from seed, layer and step counter. The
    framework's nn.Dropout keeps a hidden generator that no checkpoint holds.
    """

    def __init__(self, p, counter, key):
        super().__init__(auto_prefix=False)
        self.p, self.counter = p, counter
        self.key = int(key)
        self.threshold = int(round(p * 2**24))

    def construct(self, x):
        if not self.training or self.p == 0.0:
            return x
        words = ops.arange(0, x.size, 1, dtype=ms.int32)
        words = _mix(words + _mix(self.counter.steps * _ODD + self.key))
        kept = ops.reshape(ops.bitwise_and(words, 0xFFFFFF) >= self.threshold, x.shape)
        return x * ops.cast(kept, x.dtype) * (1.0 / (1.0 - self.p))


_ODD = -1640531527  # 2**32 / golden ratio, as int32


def _mix(words):
    """Returns a 32-bit hash of int32 words: two rounds of xor-shift and multiply (Wellons' lowbias32)."""
    words = ops.bitwise_xor(words, ops.bitwise_and(ops.bitwise_right_shift(words, 16), 0xFFFF)) * 2146121005
    words = ops.bitwise_xor(words, ops.bitwise_and(ops.bitwise_right_shift(words, 15), 0x1FFFF)) * -2073254261
    return ops.bitwise_xor(words, ops.bitwise_and(ops.bitwise_right_shift(words, 16), 0xFFFF))


def make_dropout_resumable(network, counter, seed):
    """Replaces every nn.Dropout within a network, in place; returns the replacements."""
    made = []

    def replace(cell):
        probability = cell.p if cell.p is not None else 1.0 - cell.keep_prob
        key = np.random.SeedSequence([seed, len(made)]).generate_state(1, np.uint32).view(np.int32)[0]
        made.append(ResumableDropout(float(probability), counter, key).set_train(cell.training))
        return made[-1]

    wrap_cells(network, (nn.Dropout,), replace)
    return made
