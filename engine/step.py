"""One training step as one compiled graph, put together from small cells."""

from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops

from engine.bucket import DEFAULT_BUCKET_BYTES
from engine.finite import all_finite
from engine.normalise import Normalise
from engine.precision import apply_precision
from engine.reduce import Reduce
from engine.scale import LossScale, Scale


class StepReport(NamedTuple):
    """What one update did. loss: mean over ranks and micro-batches, unscaled. finite: False if the step overflowed.
    loss_scale: the factor that this step used."""

    loss: float
    finite: bool
    loss_scale: float


class Gradients(nn.Cell):
    """Returns (loss, gradients of loss * scale) of one micro-batch; gradients are float32, in the order of `params`."""

    def __init__(self, network, loss, params, normalise):
        super().__init__(auto_prefix=False)
        self.network, self.loss = network, loss
        self.normalise = Normalise(*normalise) if normalise is not None else None
        self.value_and_grad = ms.value_and_grad(self.forward, None, weights=ParameterTuple(params), has_aux=True)

    def forward(self, images, labels, weights, scale):
        if self.normalise is not None:
            images = self.normalise(images)
        loss = self.loss(ops.cast(self.network(images), ms.float32), labels, weights)
        return loss * scale, loss

    def construct(self, images, labels, weights, scale):
        (_, loss), gradients = self.value_and_grad(images, labels, weights, scale)
        return loss, gradients


class Update(nn.Cell):
    """Reduces, checks, unscales and applies gradients; returns float32 [loss, finite, scale used].

    `count` is the number of micro-batches in the sum, a float32 scalar tensor. On overflow, if the settings drop it,
    nothing moves but the scale: the network's statistics are set back to what the last good step left.
    """

    def __init__(self, optimizer, statistics, settings, allreduce, bucket_bytes):
        super().__init__(auto_prefix=False)
        self.optimizer = optimizer
        self.scale = Scale(settings)
        self.drop = settings.drop_overflow
        self.reduce = Reduce([p.shape for p in optimizer.params], allreduce, bucket_bytes) if allreduce else None
        self.ranks = allreduce.size if allreduce else 1
        self.statistics = ParameterTuple(statistics)
        self.kept = self.statistics.clone(prefix="kept") if self.drop else ()

    def construct(self, loss, gradients, lr, count):
        scale = self.scale.value + 0.0
        if self.reduce is not None:
            sums = self.reduce(gradients, loss)
            finite = all_finite(sums) if self.drop else ops.isfinite(sums[-1][-1])
            gradients, loss = self.reduce.split(sums)
        else:
            finite = ops.logical_and(ops.isfinite(loss), all_finite(gradients)) if self.drop else ops.isfinite(loss)
        parts = count * self.ranks
        factor = 1.0 / (scale * parts)
        if self.drop:
            if finite:
                self.apply(gradients, factor, lr)
                for index in range(len(self.statistics)):
                    ops.assign(self.kept[index], self.statistics[index])
            else:
                for index in range(len(self.statistics)):
                    ops.assign(self.statistics[index], self.kept[index])
        else:
            self.apply(gradients, factor, lr)
        if self.scale.is_dynamic:
            self.scale(finite)
        return ops.stack((loss / parts, ops.cast(finite, ms.float32), scale))

    def apply(self, gradients, factor, lr):
        unscaled = ()
        for gradient in gradients:
            unscaled = unscaled + (gradient * factor,)
        return self.optimizer(unscaled, lr)


class Whole(nn.Cell):
    """Forward, backward and update in one graph."""

    def __init__(self, gradients, update):
        super().__init__(auto_prefix=False)
        self.gradients, self.update = gradients, update

    @ms.jit
    def construct(self, images, labels, weights, lr, count):
        loss, gradients = self.gradients(images, labels, weights, self.update.scale.value)
        return self.update(loss, gradients, lr, count)


class TrainOneStep:
    """Trains a network by one batch per call.

    network: images -> logits; its trainable parameters must be those of the optimizer. loss(logits, labels, weights)
    -> scalar mean. normalise: (mean, std) in units of 0 to 255: images are then uint8 (N, H, W, C), else float32
    (N, C, H, W). loss_scale: a LossScale or a number. allreduce: a cell, flat float32 tensor -> its sum over ranks,
    with `.size`; None for one rank. Everything that changes from step to step enters as a tensor: nothing recompiles.
    """

    def __init__(
        self,
        network,
        loss,
        optimizer,
        *,
        normalise=None,
        amp_level="O0",
        loss_scale=None,
        allreduce=None,
        bucket_bytes=DEFAULT_BUCKET_BYTES,
    ):
        if loss_scale is None:
            loss_scale = LossScale.none()
        elif not isinstance(loss_scale, LossScale):
            loss_scale = LossScale.fixed(loss_scale)
        self.network = apply_precision(network, amp_level)
        self.optimizer = optimizer
        self.statistics = [p for p in network.get_parameters() if not p.requires_grad]
        gradients = Gradients(self.network, loss, optimizer.params, normalise)
        self.update = Update(optimizer, self.statistics, loss_scale, allreduce, bucket_bytes)
        self.graph = Whole(gradients, self.update)
        self.graph.set_train(True)
        self._ones = {}
        self._one = Tensor(1.0, ms.float32)

    def __call__(self, images, labels, weights=None, *, lr):
        """Trains by one batch and returns a StepReport. numpy arrays; lr a number; weights (N,) float32, default one."""
        if weights is None:
            weights = self._ones.setdefault(len(labels), np.ones(len(labels), np.float32))
        if not self.graph.training:
            self.graph.set_train(True)
        out = self.graph(
            _tensor(images), _tensor(labels, np.int32), _tensor(weights, np.float32), Tensor(lr, ms.float32), self._one
        )
        loss, finite, scale = out.asnumpy().tolist()
        return StepReport(loss, finite != 0.0, scale)

    def state_parameters(self):
        """Returns the parameters that a resume needs beside the network's: moments, scale and its counter."""
        return [*self.optimizer.moments, self.update.scale.value, self.update.scale.good_steps]

    def statistics_were_set(self):
        """To be called after the network's statistics were set from outside: an overflow falls back to what they are now."""
        for kept, parameter in zip(self.update.kept, self.statistics):
            kept.set_data(Tensor(parameter.asnumpy()))


def _tensor(array, dtype=None):
    # Shares memory with the array: the loader's batch is not copied, and the call returns only after its last use.
    return array if isinstance(array, Tensor) else Tensor.from_numpy(np.ascontiguousarray(array, dtype))
