"""The loop around the step: epochs, evaluation, checkpoints, metrics."""

import itertools
import time

import numpy as np

from cellwright.engine.loop.nonfinite_steps import Trouble
from cellwright.engine.loop.position import Position
from cellwright.engine.loop.run_log import RunLog
from cellwright.engine.loop.tensorboard import check_tensorboard
from cellwright.engine.step.nested_batch import as_parts, map_leaves, samples
from cellwright.engine.step.statistics import Statistics

_BEGINNING = Position()
_STOP = 2  # a vote to stop; rank 0 alone adds 1 where its clock says that a checkpoint is due


class Trainer:
    """Trains for a number of epochs: `Trainer(step, batches, learning_rates, epochs=90).run()`.

    step: a TrainOneStep. batches: an iterable of batches, tuples as the step takes them, gone through once per epoch,
    whose arrays stay as they are; or an object with `epoch(number, start=0)` that returns such an iterable from batch
    `start` on, the same ones whenever it is asked: its arrays need to last until the next one is asked for. Both need
    `len()`. learning_rates: one number per update; an epoch has `steps_per_epoch` of them, fewer than batches if the
    step accumulates; None where the optimizer has its own. evaluator and eval_batches: evaluate every `eval_interval`
    epochs, and the averaged weights too if the step keeps some. checkpoints: a Checkpoints, saved every
    `checkpoint_interval` epochs, every `checkpoint_steps` updates and `checkpoint_minutes` minutes (None: not), and at
    the end. folder: where metrics.jsonl, metrics.csv, eval.json, evaluations.jsonl, curves.html, crash_dumps and, if
    `tensorboard`, events go. max_steps ends the run early, counted from its very first step. average_statistics:
    evaluate and save with BatchNorm statistics averaged over ranks. overflow_limit: so many skipped steps in a row end
    the run. settings: a JSON-able dict that crash dumps keep, for who builds the step again. world: `.rank .size
    .allreduce .broadcast`; None for one rank. callbacks: Callbacks. stream and the rest: see Progress.

    Raises ValueError for numbers out of range, for too few learning rates, and for tensorboard without tensorboardX.
    """

    def __init__(
        self,
        step,
        batches,
        learning_rates=None,
        *,
        epochs: int,
        max_steps: int | None = None,
        evaluator=None,
        eval_batches=None,
        eval_interval: int = 1,
        checkpoints=None,
        checkpoint_interval: int = 1,
        checkpoint_steps: int | None = None,
        checkpoint_minutes: float | None = None,
        average_statistics: bool = True,
        overflow_limit: int = 20,
        settings: dict | None = None,
        folder=None,
        tensorboard: bool = False,
        world=None,
        callbacks=(),
        **console,
    ):
        self.step, self.batches, self.learning_rates = step, batches, learning_rates
        self.epochs, self.batches_per_epoch = epochs, len(batches)
        self.steps_per_epoch = -(-self.batches_per_epoch // step.accumulate)
        self.total_steps = min(epochs * self.steps_per_epoch, max_steps or epochs * self.steps_per_epoch)
        self.evaluator, self.eval_batches, self.eval_interval = evaluator, eval_batches, eval_interval
        self.checkpoints, self.checkpoint_interval = checkpoints, checkpoint_interval
        self.checkpoint_steps, self.checkpoint_minutes = checkpoint_steps, checkpoint_minutes
        self._check(max_steps)
        if tensorboard:
            check_tensorboard()  # on all ranks, so that all of them refuse
        self.average_statistics = average_statistics
        self.world, self.callbacks = world, tuple(callbacks)
        self.rank: int = world.rank if world is not None else 0
        self.size: int = world.size if world is not None else 1
        recipe = checkpoints.recipe if checkpoints is not None else {}
        self.trouble = Trouble(step, overflow_limit, folder, self.rank, self.size, recipe, settings)
        self.log = None
        if self.rank == 0:
            self.log = RunLog(folder, tensorboard, self.total_steps, self.steps_per_epoch, **console)
        self.position, self._saved_at = Position(), time.monotonic()
        self.stopped = self._stop_wanted = False
        self.evaluation = self.averaged_evaluation = self.report = None
        self._iterator = iter(())

    def _check(self, max_steps):
        if self.steps_per_epoch < 1:
            raise ValueError("batches is empty: there is less than one batch of data per epoch and rank")
        if self.learning_rates is None and self.step.optimizer.needs_lr:
            raise ValueError("learning_rates: this optimizer has none of its own; give one number per update")
        if self.learning_rates is not None and len(self.learning_rates) < self.epochs * self.steps_per_epoch:
            raise ValueError(
                f"learning_rates holds {len(self.learning_rates)} numbers: {self.epochs} epochs of "
                f"{self.steps_per_epoch} steps need {self.epochs * self.steps_per_epoch}"
            )
        intervals = {"eval_interval": self.eval_interval, "checkpoint_interval": self.checkpoint_interval}
        for name, count in {**intervals, "max_steps": max_steps, "checkpoint_steps": self.checkpoint_steps}.items():
            if count is not None and count < 1:
                raise ValueError(f"{name} = {count}: must be >= 1 {'epoch' if name in intervals else 'step'}")
        if self.checkpoint_minutes is not None and not self.checkpoint_minutes > 0:
            raise ValueError(f"checkpoint_minutes = {self.checkpoint_minutes}: must be > 0")

    @property
    def crash_dumps(self) -> list:
        """The folders of the crash dumps that this run has written."""
        return self.trouble.dumps

    def run(self, start: Position = _BEGINNING):
        """Trains from a Position to the end and returns the last evaluation's result, or None."""
        self.position, self._saved_at = start, time.monotonic()
        if self.log:
            self.log.open(self._steps_at(start))
        try:
            while not self.is_done(self.position):
                epoch = self.position.epoch
                self._epoch(epoch)
                if self.stopped:
                    self.save()
                    break
                self._after_epoch(epoch)
        finally:
            if self.log:
                self.log.close()
        return self.evaluation

    def is_done(self, position: Position) -> bool:
        """Returns whether nothing is left to train from a Position on."""
        return self._steps_at(position) >= self.total_steps

    def request_stop(self) -> None:
        """Ends the run after the next step with a checkpoint, `stopped` set; on all ranks, whichever asks.

        Safe in a signal handler and from another thread.
        """
        self._stop_wanted = True

    def _vote(self):
        """What this rank has to say to all: the sums of these are the same on all ranks, and so is what follows."""
        minutes = None if self.checkpoints is None else self.checkpoint_minutes
        late = minutes is not None and time.monotonic() - self._saved_at >= 60 * minutes
        return float(_STOP * self._stop_wanted + (late and self.rank == 0))

    def _steps_at(self, position):
        return position.epoch * self.steps_per_epoch + -(-position.batch // self.step.accumulate)

    def _epoch(self, epoch):
        began = time.perf_counter()
        record, images_seen = None, 0
        self._iterator = iter(self._batches_of(epoch, self.position.batch))
        while self.position.batch < self.batches_per_epoch and not self.is_done(self.position):
            record, count = self._one_update(epoch)
            images_seen += count
            self._account(record)
            votes = self.report.votes
            if votes >= _STOP:
                self.stopped = True
                break
            due = self.checkpoint_steps and (record["step"] + 1) % self.checkpoint_steps == 0
            if (due or votes) and self.checkpoints is not None and self.position.batch < self.batches_per_epoch:
                self.save()
        if self.position.batch == self.batches_per_epoch:
            self.position = Position(epoch + 1, 0)
        if self.log and record:
            self.log.epoch(record, time.perf_counter() - began, images_seen)

    def _one_update(self, epoch):
        """Trains by the next micro-batches up to an update; returns (record, images on all ranks)."""
        start, number = self.position.batch, self._steps_at(self.position)
        lr = float(self.learning_rates[number]) if self.learning_rates is not None else None
        due = min(self.step.accumulate, self.batches_per_epoch - start)
        group, waited, count, report = [], 0.0, 0, None
        began = time.perf_counter()
        for index in range(due):
            asked = time.perf_counter()
            batch = self._next(epoch, start + index)
            waited += time.perf_counter() - asked
            ids = getattr(batch, "ids", None)
            batch = as_parts(batch)
            report = self.step(*batch, lr=lr, vote=self._vote())
            count += samples(batch) * self.size
            group.append((batch, ids))
        self.report = report if report is not None else self.step.apply(lr, self._vote())
        seconds = time.perf_counter() - began
        self.position = Position(epoch, start + due)
        record = {
            "step": number,
            "epoch": epoch,
            "loss": self.report.loss,
            "lr": lr if lr is not None else _or_nan(self.step.optimizer.rate()),
            "loss_scale": self.report.loss_scale,
            "step_ms": round((seconds - waited) * 1e3, 3),
            "wait_ms": round(waited * 1e3, 3),
            "images_per_s": round(count / seconds, 2),
        }
        told = self.trouble.look(self.report, record, lambda: self._again(epoch, start, group))
        if told and self.log:
            self.log.say(told)
        return record, count

    def _next(self, epoch, index):
        try:
            return next(self._iterator)
        except StopIteration:
            raise ValueError(
                f"epoch {epoch} ended after {index} batches, but len() promised {self.batches_per_epoch}"
            ) from None

    def _again(self, epoch, start, group):
        """The micro-batches of the last update, pairs (batch, ids): those in a ring's memory are asked for
        once more.
        """
        if len(group) == 1 or not hasattr(self.batches, "epoch"):
            return group
        self._iterator = iter(self._batches_of(epoch, start))
        taken = []
        for index in range(len(group)):
            batch = self._next(epoch, start + index)
            ids = getattr(batch, "ids", None)
            taken.append((map_leaves(np.array, as_parts(batch)), None if ids is None else ids.copy()))
        return taken

    def _account(self, record):
        if self.log:
            self.log.step(record, self.step.new_compilations())
        for callback in self.callbacks:
            callback.on_step(self, record)

    def _batches_of(self, epoch, start):
        if hasattr(self.batches, "epoch"):
            return self.batches.epoch(epoch, start=start)
        return itertools.islice(iter(self.batches), start, None)

    def _after_epoch(self, epoch):
        last = self.is_done(self.position)
        result = None
        if self.evaluator is not None and ((epoch + 1) % self.eval_interval == 0 or last):
            result = self.evaluate()
            for callback in self.callbacks:
                callback.on_evaluation(self, epoch, result)
        if self.checkpoints is not None and ((epoch + 1) % self.checkpoint_interval == 0 or last):
            self.save(result)
        if self.log:
            self.log.flush()
        for callback in self.callbacks:
            callback.on_epoch(self, epoch)

    def evaluate(self):
        """Evaluates the weights, and their average if there is one; writes eval.json and eval_averaged.json.
        Collective.

        Returns the evaluator's result for the weights; that of the average is in `averaged_evaluation`.
        """
        with Statistics(self.step.statistics, self.world, self.average_statistics).averaged():
            self.evaluation = self.evaluator(_first_epoch(self.eval_batches))
            self._record_evaluation(self.evaluation, "trained", "eval.json")
            if self.step.ema is not None:
                with self.step.ema.swapped_in():
                    self.averaged_evaluation = self.evaluator(_first_epoch(self.eval_batches))
                self._record_evaluation(self.averaged_evaluation, "averaged", "eval_averaged.json")
        return self.evaluation

    def _record_evaluation(self, result, kind, name):
        if self.log:
            epoch = self.position.epoch if self.position.batch == 0 else self.position.epoch + 1
            self.log.evaluation(epoch, result, kind, name, -(-self.position.batch // self.step.accumulate))

    def save(self, result=None):
        """Writes a checkpoint of where the run stands and returns its folder; result ranks it for `best`.
        Collective.
        """
        path = self.checkpoints.save(
            self.step,
            self.position,
            metric=result.score if result else None,
            evaluation=result.numbers() if result else None,
            average_statistics=self.average_statistics,
        )
        self._saved_at = time.monotonic()
        for callback in self.callbacks:
            callback.on_checkpoint(self, path)
        return path


def _or_nan(number):
    return float("nan") if number is None else number


def _first_epoch(batches):
    return batches.epoch(0) if hasattr(batches, "epoch") else batches
