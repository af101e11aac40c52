"""The loop around the step: epochs, evaluation, checkpoints, metrics."""

import itertools
import time
from pathlib import Path

from engine.evaluate import unpack
from engine.metrics import Metrics
from engine.position import Position
from engine.progress import Progress
from engine.statistics import Statistics


class Callback:
    """Base of what a Trainer calls; override what is needed. All ranks call them in the same order."""

    def on_step(self, trainer, record):
        """After each update, with its record (see engine.metrics)."""

    def on_epoch(self, trainer, epoch):
        """After each epoch, its evaluation and its checkpoint."""

    def on_evaluation(self, trainer, epoch, result):
        """After each evaluation, with its EvalResult."""


class Trainer:
    """Trains for a number of epochs: `Trainer(step, batches, learning_rates, epochs=90).run()`.

    step: a TrainOneStep. batches: an iterable of (images, labels[, weights]), gone through once per epoch; or an object
    with `epoch(number, start=0)` that returns such an iterable from batch `start` on. It needs `len()`.
    learning_rates: one number per step. evaluator and eval_batches: evaluate every `eval_interval` epochs.
    checkpoints: a Checkpoints, saved every `checkpoint_interval` epochs and at the end. folder: where metrics.jsonl,
    metrics.csv and eval.json go. max_steps ends the run early, counted from its very first step. world: `.rank .size .allreduce .broadcast .barrier`; None for one rank.
    """

    def __init__(
        self,
        step,
        batches,
        learning_rates,
        *,
        epochs,
        max_steps=None,
        evaluator=None,
        eval_batches=None,
        eval_interval=1,
        checkpoints=None,
        checkpoint_interval=1,
        folder=None,
        world=None,
        callbacks=(),
        log_interval=100,
        log_format="plain",
        stream=None,
    ):
        self.step, self.batches, self.learning_rates = step, batches, learning_rates
        self.epochs, self.steps_per_epoch = epochs, len(batches)
        if self.steps_per_epoch < 1:
            raise ValueError("batches is empty: there is less than one batch of data per epoch and rank")
        if len(learning_rates) < epochs * self.steps_per_epoch:
            raise ValueError(
                f"learning_rates holds {len(learning_rates)} numbers: {epochs} epochs of {self.steps_per_epoch} steps "
                f"need {epochs * self.steps_per_epoch}"
            )
        if max_steps is not None and max_steps < 1:
            raise ValueError(f"max_steps = {max_steps}: must be >= 1 step")
        self.total_steps = min(epochs * self.steps_per_epoch, max_steps or epochs * self.steps_per_epoch)
        for name, interval in (("eval_interval", eval_interval), ("checkpoint_interval", checkpoint_interval)):
            if interval < 1:
                raise ValueError(f"{name} = {interval}: must be >= 1 epoch")
        self.evaluator, self.eval_batches, self.eval_interval = evaluator, eval_batches, eval_interval
        self.checkpoints, self.checkpoint_interval = checkpoints, checkpoint_interval
        self.folder = Path(folder) if folder is not None else None
        self.world, self.callbacks = world, tuple(callbacks)
        self.rank, self.size = (world.rank, world.size) if world is not None else (0, 1)
        self.position = Position()
        self.stopped = self._stop_wanted = False
        self.evaluation = None
        self.progress = None
        if self.rank == 0:
            self.progress = Progress(
                self.total_steps,
                self.steps_per_epoch,
                log_interval=log_interval,
                log_format=log_format,
                stream=stream,
            )

    def run(self, start=Position()):
        """Trains from a Position to the end and returns the last EvalResult, or None."""
        self.position = start
        metrics = None
        if self.rank == 0 and self.folder is not None:
            metrics = Metrics(self.folder, start.epoch * self.steps_per_epoch + start.batch)
        try:
            while self._steps_done() < self.total_steps:
                epoch = self.position.epoch
                self._epoch(epoch, metrics)
                if self.stopped:
                    self.save()
                    break
                self._after_epoch(epoch)
                if metrics:
                    metrics.flush()
        finally:
            if metrics:
                metrics.close()
        return self.evaluation

    def request_stop(self):
        """Ends the run after the next step with a checkpoint, `stopped` set: on all ranks, whichever of them asks. Signal-safe."""
        self._stop_wanted = True

    def _steps_done(self):
        return self.position.epoch * self.steps_per_epoch + self.position.batch

    def _epoch(self, epoch, metrics):
        first = self.position.batch
        end = min(self.steps_per_epoch, self.total_steps - epoch * self.steps_per_epoch)
        began = time.perf_counter()
        record, images_seen = None, 0
        batches = iter(self._batches_of(epoch, first))
        for index in range(first, end):
            asked = time.perf_counter()
            try:
                images, labels, weights = unpack(next(batches))
            except StopIteration:
                raise ValueError(f"epoch {epoch} ended after {index} batches, but len() promised {self.steps_per_epoch}") from None
            got = time.perf_counter()
            number = epoch * self.steps_per_epoch + index
            lr = float(self.learning_rates[number])
            report = self.step(images, labels, weights, lr=lr, vote=float(self._stop_wanted))
            done = time.perf_counter()
            count = len(labels) * self.size
            images_seen += count
            record = {
                "step": number,
                "epoch": epoch,
                "loss": report.loss,
                "lr": lr,
                "loss_scale": report.loss_scale,
                "step_ms": round((done - got) * 1e3, 3),
                "wait_ms": round((got - asked) * 1e3, 3),
                "images_per_s": round(count / (done - asked), 2),
            }
            self.position = Position(epoch, index + 1)
            if metrics:
                metrics.write(record)
            if self.progress:
                self.progress.step(record)
            for callback in self.callbacks:
                callback.on_step(self, record)
            if report.votes:
                self.stopped = True
                break
        if self.position.batch == self.steps_per_epoch:
            self.position = Position(epoch + 1, 0)
        if self.progress and record:
            self.progress.epoch(record, time.perf_counter() - began, images_seen)

    def _batches_of(self, epoch, start):
        if hasattr(self.batches, "epoch"):
            return self.batches.epoch(epoch, start=start)
        return itertools.islice(iter(self.batches), start, None)

    def _after_epoch(self, epoch):
        last = self._steps_done() == self.total_steps
        result = None
        if self.evaluator is not None and ((epoch + 1) % self.eval_interval == 0 or last):
            result = self.evaluate()
            if self.progress:
                self.progress.evaluation(epoch + 1, result)
            for callback in self.callbacks:
                callback.on_evaluation(self, epoch, result)
        if self.checkpoints is not None and ((epoch + 1) % self.checkpoint_interval == 0 or last):
            self.save(result)
        for callback in self.callbacks:
            callback.on_epoch(self, epoch)

    def evaluate(self):
        """Evaluates with the statistics averaged over ranks; writes eval.json and returns the EvalResult. Collective."""
        with Statistics(self.step.statistics, self.world).averaged():
            self.evaluation = self.evaluator(_first_epoch(self.eval_batches))
        if self.rank == 0 and self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.evaluation.write(self.folder / "eval.json")
        return self.evaluation

    def save(self, result=None):
        """Writes a checkpoint of where the run stands and returns its folder. Collective."""
        return self.checkpoints.save(
            self.step,
            self.position,
            metric=result.top1 if result else None,
            evaluation=vars(result) if result else None,
        )


def _first_epoch(batches):
    return batches.epoch(0) if hasattr(batches, "epoch") else batches
