"""One training step as one compiled graph, put together from small cells."""

import contextlib
import dataclasses

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from cellwright.engine.step.batch_weight import Shares
from cellwright.engine.step.before_forward import Begin
from cellwright.engine.step.bucket import DEFAULT_BUCKET_BYTES
from cellwright.engine.step.compilations import CompilationWatch, compile_in_turn
from cellwright.engine.step.dropout import make_dropout_resumable
from cellwright.engine.step.ema import MovingAverage
from cellwright.engine.step.forward import FunctionForward, ImageForward, network_of
from cellwright.engine.step.gradients import Accumulator, Gradients
from cellwright.engine.step.input_checks import (
    check_form,
    check_labels,
    check_lr,
    check_parameters,
    in_one_line,
    unread_parameters,
)
from cellwright.engine.step.inspection import Inspection, norms_by_layer
from cellwright.engine.step.instructions import limit_stock_instructions
from cellwright.engine.step.loss_scale import LossScale
from cellwright.engine.step.nested_batch import as_input, as_tensor, describe, map_leaves
from cellwright.engine.step.precision import apply_precision
from cellwright.engine.step.programs import BACKWARD_PARTS, cut_backward, make_programs
from cellwright.engine.step.report import StepReport
from cellwright.engine.step.statistics import statistics_of
from cellwright.engine.step.step_graphs import Flush, WholeStep
from cellwright.engine.step.stock_optimizer import as_optimizer
from cellwright.engine.step.training_modes import TrainingModes
from cellwright.engine.step.update import Update


class TrainOneStep:
    """Trains a network by one batch per call: `step(images, labels, lr=0.1)` -> StepReport.

    Two forms. `TrainOneStep(network, loss, optimizer)`: network: images -> logits; loss(logits, labels, weights) ->
    scalar mean; a batch is images, labels and, if some samples count less, weights (N,) float32.
    `TrainOneStep(forward=function, optimizer=optimizer)`: function(*batch) -> a scalar loss or (loss, aux); a batch is
    any nesting of tuples and dicts of numpy arrays or tensors, of any dtype. network: then the cell that is trained,
    where the function does not reach it by a name of its own (a teacher is none: it holds no parameter of the
    optimizer).

    optimizer: a Momentum, LARS or AdamW, or any mindspore.nn.Optimizer. normalise: (mean, std) in units of 0 to
    255: images are then uint8 (N, H, W, C), else float32 (N, C, H, W). amp_level, amp_dtype, float32_cells,
    float16_cells: see step/precision.py. loss_scale: a LossScale or a number. allreduce: a
    `kernels.nodes.Allreduce`; None for one rank. accumulate: micro-batches per update; the gradients are reduced
    once. count: function of a batch -> what it counts against other micro-batches and ranks; by default the sum of
    the weights, or with `forward` the length of its first array. clip_norm: limit of the global gradient norm. ema:
    decay of a moving average of the weights. seed: of dropout, another one on each rank. finite_kernel: a cell,
    tuple of tensors -> bool scalar, in place of the stock operators of the overflow check. reduce_after_backward:
    start the allreduce when all gradients are there, see step/sync_norm.py. factored: a
    `kernels.nodes.FactoredGradients` of the network; they are, where the optimizer's update sums over ranks and layers
    compute in float32.

    Everything that changes from step to step enters as a tensor, so that nothing recompiles; if a call has to compile
    after the first one, `compilations` tells why, and so does the log. The network is changed in place: its cells are
    cast, and its dropout is replaced by one that can be resumed.

    Raises ValueError for settings out of range, and for an optimizer of another network; the first call raises
    ValueError in one line for a batch that does not fit, a loss that is no scalar, and a parameter that gets no
    gradient.
    """

    def __init__(
        self,
        network: nn.Cell | None = None,
        loss=None,
        optimizer=None,
        *,
        forward=None,
        normalise=None,
        amp_level: str = "O0",
        amp_dtype: str = "auto",
        float32_cells: tuple = (),
        float16_cells: tuple = (),
        loss_scale: LossScale | float | None = None,
        allreduce=None,
        bucket_bytes: int = DEFAULT_BUCKET_BYTES,
        accumulate: int = 1,
        count=None,
        clip_norm: float | None = None,
        ema: float | None = None,
        seed: int = 0,
        finite_kernel=None,
        reduce_after_backward: bool = False,
        factored=None,
    ):
        scale = LossScale.of(loss_scale)
        check_form(network, loss, optimizer, forward, normalise, accumulate)
        self.optimizer = as_optimizer(optimizer)
        network = network if network is not None else network_of(forward, self.optimizer.params)
        check_parameters(network, self.optimizer.params)
        self.dropouts = make_dropout_resumable(network)
        self.network = apply_precision(network, amp_level, float32_cells, float16_cells, amp_dtype)
        limit_stock_instructions(self.network)
        self.statistics = statistics_of(network)
        self.loss, self.normalise, self.amp_level, self.accumulate = loss, normalise, amp_level, accumulate
        self.seed = seed
        self.settings = {
            "form": "forward" if forward is not None else "images",
            "amp_level": amp_level,
            "amp_dtype": self.network.precision[1],
            "loss_scale": dataclasses.asdict(scale),
            "optimizer": self.optimizer.settings,
            **dict(accumulate=accumulate, clip_norm=clip_norm, ema=ema, seed=seed, normalise=normalise),
        }
        self._shares = Shares(allreduce, count, by_weights=forward is None)
        self.forward = FunctionForward(forward) if forward else ImageForward(self.network, loss, normalise)
        self.ema = MovingAverage(self.optimizer.params, ema) if ema is not None else None
        self.begin = Begin(self.statistics, self.dropouts, seed, keeps=scale.drop_overflow)
        self.update = Update(
            self.optimizer,
            scale,
            begin=self.begin,
            allreduce=allreduce,
            bucket_bytes=bucket_bytes,
            clip_norm=clip_norm,
            average=self.ema,
            finite_kernel=finite_kernel,
            after_backward=reduce_after_backward,
        )
        taken = self.update.sums_in_update and accumulate == 1 and self.network.precision[1] != "float16"
        self._factored = factored if taken else None
        if self._factored is not None:
            self.optimizer.take_factors(self._factored.weights)
        self._build_graphs()

    def _build_graphs(self):
        gradients = Gradients(self.forward, self.optimizer.params)
        if self.accumulate == 1:
            self.graph = WholeStep(gradients, self.update, self.begin)
        else:
            self.graph = Accumulator(gradients, self.begin, self.update.scale, self.optimizer.params)
            self.flush = Flush(self.graph, self.update, self.begin)
        if not self.network.training:  # as a cell is when it was just made: else some layers may be frozen on purpose
            self.graph.set_train(True)
            self.network.set_train(True)
        self._modes, self._known_modes = TrainingModes(self.graph, self.network), {}
        self.pending = 0  # micro-batches added since the last update
        self.aux = ()
        self._watch = CompilationWatch()
        self._compiling, self._in_turn = contextlib.nullcontext, None
        self._ones: dict = {}
        self._inspection = None

    def __call__(self, *batch, lr: float | None = None, vote: float = 0.0, count: float | None = None, weights=None):
        """Trains by one batch and returns a StepReport; with accumulation, None until the update's last micro-batch.

        batch: numpy arrays or tensors, nested as forward takes them. lr: a number; may be left out where MindSpore's
        optimizer has its own. vote: a number that is summed over ranks and reported, for a decision that all must take
        alike. count: what the batch counts against others, in place of the step's `count`. weights: (N,) float32 of the
        images, all one if absent.
        """
        lr = check_lr(lr, self.optimizer)
        batch = self.completed(batch, weights)
        tensors = map_leaves(as_tensor, batch)
        if self.accumulate == 1:
            share = self._shares(batch, count) if self.update.ranks > 1 else 1.0
            report, self.aux = self._run(tensors, _scalar(lr), _scalar(share), _scalar(vote))
            return self._report(report)
        share = self._shares(batch, count)
        if self.pending == 0:
            self.graph.clear()
        _, self.aux = self._run(tensors, Tensor(self.pending, ms.int32), _scalar(share))
        self.pending += 1
        return self.apply(lr, vote) if self.pending == self.accumulate else None

    def apply(self, lr: float | None = None, vote: float = 0.0) -> StepReport:
        """Updates from the micro-batches added so far (fewer than `accumulate` at the end of an epoch)."""
        self.pending = 0
        return self._report(self.flush(_scalar(check_lr(lr, self.optimizer)), _scalar(vote)).asnumpy())

    @property
    def can_overlap(self) -> bool:
        """Whether sums over ranks can start before all gradients are there."""
        return self.update.reduce.can_overlap and self.accumulate == 1

    def set_overlap(self, on: bool, compiling=contextlib.nullcontext) -> None:
        """Lets sums over ranks start before all gradients are there, or not: the steps are the same to the bit.

        At any time, on all ranks alike. Each way has a graph of its own, which its first call compiles. compiling:
        returns a context manager, entered around this way's compilations. ValueError where they can't.
        """
        if on and not self.can_overlap:
            raise ValueError("set_overlap: this allreduce or this step cannot sum while gradients are computed")
        self._compiling = compiling
        self.update.reduce.set_overlap(on)
        cut_backward(self.network, BACKWARD_PARTS if on else 1)

    def compile_in(self, in_turn) -> None:
        """in_turn: returns a context manager, entered around each compilation of the first step, so that ranks can
        compile one after the other and share what comes out.
        """
        self._in_turn = self._shares.in_turn = in_turn

    def gradients_of(self, *batch, weights=None) -> dict:
        """Returns {parameter name: gradient of the loss of one batch on this rank}, numpy arrays. Nothing is updated.

        Compiles a graph of its own at the first call.
        """
        batch = self.completed(batch, weights)
        self._layers()
        return self._gradients(map_leaves(as_tensor, batch))

    def _gradients(self, batch):
        if self._inspection is None:
            self._inspection = Inspection(self.forward, self.optimizer.params, self.statistics)
        return self._inspection(batch)

    def gradient_norms(self, *batch, weights=None) -> dict:
        """Returns {layer name: Euclidean norm of its parameters' gradients} of one batch, see `gradients_of`."""
        return norms_by_layer(self.gradients_of(*batch, weights=weights))

    def completed(self, batch, weights=None) -> tuple:
        """Returns a batch as forward takes it: images with weights, and labels as int32 unless they are floats.

        Raises ValueError for labels that are no class, and for another number of parts.
        """
        batch = tuple(batch)
        if not isinstance(self.forward, ImageForward):
            if weights is not None:
                raise ValueError("weights: with forward= they are a part of the batch")
            return batch
        if len(batch) == 3:
            batch, weights = batch[:2], batch[2]
        if len(batch) != 2:
            raise ValueError(f"a batch of {len(batch)} parts: the step takes images, labels and weights")
        images, labels = batch
        if weights is None:
            weights = self._ones.setdefault(len(labels), np.ones(len(labels), np.float32))
        if not isinstance(labels, Tensor) and np.asarray(labels).dtype.kind in "iu":
            labels = np.asarray(labels, np.int32)
        if not isinstance(weights, Tensor):
            weights = np.asarray(weights, np.float32)
        check_labels(labels, weights, self.loss)
        return images, labels, weights

    def _report(self, numbers):
        loss, finite, scale, norm, votes = numbers.tolist()
        return StepReport(loss, finite != 0.0, scale, norm if norm >= 0 else None, votes, self.aux)

    def _run(self, batch, *scalars):
        signature = (*describe(batch, self.forward.names), self._layers())
        if self._watch.knows(signature):
            out, aux = self.graph(as_input(batch), *scalars)
            return out.asnumpy(), aux
        make_programs(self.network)
        first = not self.compilations
        if first:
            self._find_unused(batch)
        kept = self._factored.kept() if self._factored is not None else contextlib.nullcontext()
        with kept, self._watch.compiling(signature), in_one_line(batch, self.forward.names):
            if first:
                compile_in_turn(self._in_turn, self.graph, as_input(batch), *scalars)
            with self._compiling():
                out, aux = self.graph(as_input(batch), *scalars)
            return out.asnumpy(), aux

    def _layers(self):
        """(number for each way in which layers were frozen, whether sums overlap): by these MindSpore keeps its
        graphs apart.
        """
        if not self.network.training:
            self._modes.restore()
        mode = self._modes.now()
        number = self._known_modes.setdefault(mode, len(self._known_modes))
        overlaps = self.update.reduce.overlaps
        self.graph.phase = f"train{number or ''}{'_overlap' * overlaps}"
        return number, overlaps

    def _find_unused(self, batch):
        """Raises ValueError for a parameter of the optimizer that gets no gradient.

        Only where the source of the cells leaves a doubt, for it takes a graph of its own to know.
        """
        doubtful = unread_parameters(self.network, self.optimizer.params)
        if doubtful:
            gradients = self._gradients(batch)
            for name in doubtful:
                if not gradients[name].any():
                    raise ValueError(
                        f"{name} gets no gradient: forward does not use it; leave it out of the optimizer "
                        "(requires_grad = False)"
                    )

    @property
    def compilations(self) -> list:
        """The Compilations so far: calls that had to compile."""
        return self._watch.found

    def new_compilations(self) -> list:
        """Returns the Compilations since the last call of this method."""
        return self._watch.new()

    def state_parameters(self) -> list:
        """Returns the parameters that a resume needs beside the network's: of the optimizer, scale, counters,
        average.
        """
        scale = self.update.scale
        state = [*self.optimizer.state(), scale.value, scale.good_steps, self.begin.steps]
        return state + ([*self.ema.average, self.ema.updates] if self.ema is not None else [])

    def state_was_set(self) -> None:
        """To be called after parameters were set from outside: no micro-batch is pending any more."""
        self.pending = 0


def _scalar(number):
    return Tensor(number, ms.float32)
