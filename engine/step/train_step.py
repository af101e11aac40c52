"""One training step as one compiled graph, put together from small cells."""

import logging
import time
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from cellwright.engine.step.bucket import DEFAULT_BUCKET_BYTES
from cellwright.engine.step.dropout import StepCounter, make_dropout_resumable
from cellwright.engine.step.ema import MovingAverage
from cellwright.engine.step.gradients import Accumulator, Gradients
from cellwright.engine.step.loss_scale import LossScale
from cellwright.engine.step.precision import apply_precision
from cellwright.engine.step.update import Update

_log = logging.getLogger("cellwright")


class StepReport(NamedTuple):
    """What one update did. loss: mean over ranks and micro-batches, unscaled. finite: False if the step overflowed.
    loss_scale: the factor that this step used. gradient_norm: global, before clipping; None unless gradients are
    clipped. votes: sum over ranks of `vote`."""

    loss: float
    finite: bool
    loss_scale: float
    gradient_norm: float | None = None
    votes: float = 0.0


class Compilation(NamedTuple):
    """A call that had to compile: seconds, the first step included, and what was new about its arguments."""

    seconds: float
    changed: str


class Whole(nn.Cell):
    """Forward, backward and update in one graph."""

    def __init__(self, gradients, update, counter):
        super().__init__(auto_prefix=False)
        self.gradients, self.update, self.counter = gradients, update, counter

    @ms.jit
    def construct(self, images, labels, weights, lr, count, vote):
        loss, gradients = self.gradients(images, labels, weights, self.update.scale.value)
        report = self.update(loss, gradients, lr, count, vote)
        self.counter(report)
        return report


class Flush(nn.Cell):
    """The update from accumulated sums."""

    def __init__(self, accumulator, update, counter):
        super().__init__(auto_prefix=False)
        self.accumulator, self.update, self.counter = accumulator, update, counter

    @ms.jit
    def construct(self, lr, count, vote):
        report = self.update(self.accumulator.loss + 0.0, self.accumulator.sums, lr, count, vote)
        self.counter(report)
        return report


class TrainOneStep:
    """Trains a network by one batch per call: `step(images, labels, lr=0.1)` -> StepReport.

    network: images -> logits. loss(logits, labels, weights) -> scalar mean. optimizer: a Momentum or another cell with
    `params`, `moments` and `construct(gradients, lr, factor)`. normalise: (mean, std) in units of 0 to 255: images are then
    uint8 (N, H, W, C), else float32 (N, C, H, W). amp_level, float32_cells, float16_cells: see engine.precision.
    loss_scale: a LossScale or a number. allreduce: a cell, flat float32 tensor -> its sum over ranks, with `.size`;
    None for one rank. accumulate: micro-batches per update; the gradients are reduced once. clip_norm: limit of the
    global gradient norm. ema: decay of a moving average of the weights. seed: of dropout, another one on each rank.
    finite_kernel: a cell, tuple of tensors -> bool scalar, in place of the stock operators of the overflow check.
    reduce_after_backward: start the allreduce when all gradients are there, see engine.sync_norm.

    Everything that changes from step to step enters as a tensor, so that nothing recompiles; if a call has to compile
    after the first one, `compilations` tells why, and so does the log. The network is changed in place: its cells are
    cast, and its dropout is replaced by one that can be resumed.
    """

    def __init__(
        self,
        network,
        loss,
        optimizer,
        *,
        normalise=None,
        amp_level="O0",
        float32_cells=(),
        float16_cells=(),
        loss_scale=None,
        allreduce=None,
        bucket_bytes=DEFAULT_BUCKET_BYTES,
        accumulate=1,
        clip_norm=None,
        ema=None,
        seed=0,
        finite_kernel=None,
        reduce_after_backward=False,
    ):
        if loss_scale is None:
            loss_scale = LossScale.none()
        elif not isinstance(loss_scale, LossScale):
            loss_scale = LossScale.fixed(loss_scale)
        if accumulate < 1:
            raise ValueError(f"accumulate = {accumulate}: must be >= 1 micro-batch")
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"clip_norm = {clip_norm}: must be > 0")
        self.statistics = [p for p in network.get_parameters() if not p.requires_grad]
        self.counter = StepCounter()
        self.dropouts = make_dropout_resumable(network, self.counter, seed)
        self.network = apply_precision(network, amp_level, float32_cells, float16_cells)
        self.loss, self.optimizer = loss, optimizer
        self.normalise, self.amp_level, self.accumulate, self.seed = normalise, amp_level, accumulate, seed
        self.ema = MovingAverage(optimizer.params, ema) if ema is not None else None
        self.gradients = Gradients(self.network, loss, optimizer.params, normalise)
        self.update = Update(
            optimizer,
            self.statistics,
            loss_scale,
            allreduce=allreduce,
            bucket_bytes=bucket_bytes,
            clip_norm=clip_norm,
            average=self.ema,
            finite_kernel=finite_kernel,
            after_backward=reduce_after_backward,
        )
        if accumulate == 1:
            self.graph = Whole(self.gradients, self.update, self.counter)
        else:
            self.graph = Accumulator(self.gradients, self.update.scale, optimizer.params)
            self.flush = Flush(self.graph, self.update, self.counter)
        self.graph.set_train(True)
        self.pending = 0  # micro-batches added since the last update
        self.compilations = []
        self._told = 0
        self._signature = None
        self._signatures = set()
        self._ones = {}

    def __call__(self, images, labels, weights=None, *, lr, vote=0.0):
        """Trains by one batch and returns a StepReport; with accumulation, None until the update's last micro-batch.

        numpy arrays or tensors; weights (N,) float32, all one if absent; lr a number. vote: a number that is summed
        over ranks and reported, for a decision that all must take alike.
        """
        if weights is None:
            weights = self._ones.setdefault(len(labels), np.ones(len(labels), np.float32))
        batch = (_tensor(images), _tensor(labels, np.int32), _tensor(weights, np.float32))
        if self.accumulate == 1:
            return self._report(self._run(self.graph, *batch, _scalar(lr), _scalar(1.0), _scalar(vote)))
        if self.pending == 0:
            self.graph.clear()
        self._run(self.graph, *batch)
        self.pending += 1
        return self.apply(lr, vote) if self.pending == self.accumulate else None

    def apply(self, lr, vote=0.0):
        """Updates from the micro-batches added so far (fewer than `accumulate` at the end of an epoch); a StepReport."""
        count, self.pending = self.pending, 0
        return self._report(self.flush(_scalar(lr), _scalar(count), _scalar(vote)).asnumpy())

    @staticmethod
    def _report(numbers):
        loss, finite, scale, norm, votes = numbers.tolist()
        return StepReport(loss, finite != 0.0, scale, norm if norm >= 0 else None, votes)

    def _run(self, graph, images, labels, weights, *scalars):
        if not graph.training:
            graph.set_train(True)
        signature = tuple((t.shape, str(t.dtype)) for t in (images, labels, weights))
        if signature in self._signatures:
            self._signature = signature
            return graph(images, labels, weights, *scalars).asnumpy()
        began = time.perf_counter()
        out = graph(images, labels, weights, *scalars).asnumpy()
        compilation = Compilation(time.perf_counter() - began, _difference(self._signature, signature))
        self._signatures.add(signature)
        self._signature = signature
        self.compilations.append(compilation)
        if len(self.compilations) > 1:
            _log.warning("the train step was compiled again in %.1f s: %s", *compilation)
        return out

    def new_compilations(self):
        """Returns the Compilations since the last call of this method."""
        new = self.compilations[self._told :]
        self._told = len(self.compilations)
        return new

    def state_parameters(self):
        """Returns the parameters that a resume needs beside the network's: moments, scale, counters, average."""
        state = [
            *self.optimizer.moments,
            self.update.scale.value,
            self.update.scale.good_steps,
            self.counter.steps,
        ]
        return state + ([*self.ema.average, self.ema.updates] if self.ema is not None else [])

    def state_was_set(self):
        """To be called after parameters were set from outside: an overflow falls back to them; no micro-batch is pending."""
        self.pending = 0
        for kept, parameter in zip(self.update.kept, self.statistics):
            kept.set_data(Tensor(parameter.asnumpy()))


def _difference(old, new):
    if old is None:
        return "first step"
    parts = []
    for name, before, after in zip(("images", "labels", "weights"), old, new):
        if before != after:
            parts.append(f"{name} {before[1]}{list(before[0])} -> {after[1]}{list(after[0])}")
    return ", ".join(parts)


def _tensor(array, dtype=None):
    # Shares memory with the array: the loader's batch is not copied, and the call returns only after its last use.
    return array if isinstance(array, Tensor) else Tensor.from_numpy(np.ascontiguousarray(array, dtype))


def _scalar(number):
    return Tensor(number, ms.float32)
