"""The loop around the step: epochs, evaluation, checkpoints, metrics."""

import itertools
import time
from dataclasses import asdict
from pathlib import Path

from cellwright.engine.debug.crash_dump import Diverged, write_capsule
from cellwright.engine.debug.divergence import Guard
from cellwright.engine.loop.curves import append_evaluation, write_curves
from cellwright.engine.loop.evaluate import unpack
from cellwright.engine.loop.events import Events
from cellwright.engine.loop.metrics import Metrics
from cellwright.engine.loop.position import Position
from cellwright.engine.loop.progress import Progress
from cellwright.engine.step.statistics import Statistics

_STOP = 2  # a vote to stop; rank 0 alone adds 1 where its clock says that a checkpoint is due


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
    learning_rates: one number per update; an epoch has `steps_per_epoch` of them, fewer than batches if the step
    accumulates. evaluator and eval_batches: evaluate every `eval_interval` epochs, and the averaged weights too if the
    step keeps some. checkpoints: a Checkpoints, saved every `checkpoint_interval` epochs, every `checkpoint_steps`
    updates and `checkpoint_minutes` minutes (None: not), and at the end. folder: where metrics.jsonl, metrics.csv,
    eval.json, evaluations.jsonl, curves.html, capsules and, if `tensorboard`, events go. max_steps ends the run early,
    counted from its very first step. average_statistics: evaluate and save with BatchNorm statistics averaged over
    ranks. overflow_limit: so many skipped steps in a row end the run. world: `.rank .size .allreduce .broadcast`; None
    for one rank.
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
        checkpoint_steps=None,
        checkpoint_minutes=None,
        average_statistics=True,
        overflow_limit=20,
        folder=None,
        tensorboard=False,
        world=None,
        callbacks=(),
        log_interval=100,
        log_format="plain",
        stream=None,
    ):
        self.step, self.batches, self.learning_rates = step, batches, learning_rates
        self.epochs, self.batches_per_epoch = epochs, len(batches)
        self.steps_per_epoch = -(-self.batches_per_epoch // step.accumulate)
        if self.steps_per_epoch < 1:
            raise ValueError("batches is empty: there is less than one batch of data per epoch and rank")
        if len(learning_rates) < epochs * self.steps_per_epoch:
            raise ValueError(
                f"learning_rates holds {len(learning_rates)} numbers: {epochs} epochs of {self.steps_per_epoch} steps "
                f"need {epochs * self.steps_per_epoch}"
            )
        epochs_between = {"eval_interval": eval_interval, "checkpoint_interval": checkpoint_interval}
        for name, count in {**epochs_between, "max_steps": max_steps, "checkpoint_steps": checkpoint_steps}.items():
            if count is not None and count < 1:
                raise ValueError(f"{name} = {count}: must be >= 1 {'epoch' if name in epochs_between else 'step'}")
        self.total_steps = min(epochs * self.steps_per_epoch, max_steps or epochs * self.steps_per_epoch)
        self.evaluator, self.eval_batches, self.eval_interval = evaluator, eval_batches, eval_interval
        self.checkpoints, self.checkpoint_interval = checkpoints, checkpoint_interval
        self.checkpoint_steps = checkpoint_steps
        if checkpoint_minutes is not None and not checkpoint_minutes > 0:
            raise ValueError(f"checkpoint_minutes = {checkpoint_minutes}: must be > 0")
        self._seconds_to_save = None if checkpoint_minutes is None or checkpoints is None else 60 * checkpoint_minutes
        self._saved_at = time.monotonic()
        self.average_statistics = average_statistics
        self.folder = Path(folder) if folder is not None else None
        self.tensorboard = tensorboard
        self.world, self.callbacks = world, tuple(callbacks)
        self.rank, self.size = (world.rank, world.size) if world is not None else (0, 1)
        self.guard = Guard(step.update.drop, overflow_limit)
        self.capsules = []
        self.position = Position()
        self.stopped = self._stop_wanted = False
        self.evaluation = self.averaged_evaluation = None
        self._metrics = self._events = self.progress = None
        if self.rank == 0:
            self.progress = Progress(
                self.total_steps,
                self.steps_per_epoch,
                log_interval=log_interval,
                log_format=log_format,
                stream=stream,
            )

    def run(self, start=None):
        """Trains from a Position (None: the start) to the end and returns the last EvalResult, or None."""
        self.position, self._saved_at = start or Position(), time.monotonic()
        if self.rank == 0 and self.folder is not None:
            self._metrics = Metrics(self.folder, self._steps_done())
            self._events = Events(self.folder / "events") if self.tensorboard else None
        try:
            while self._steps_done() < self.total_steps:
                epoch = self.position.epoch
                self._epoch(epoch)
                if self.stopped:
                    self.save()
                    break
                self._after_epoch(epoch)
        finally:
            for log in (self._metrics, self._events):
                if log:
                    log.close()
        return self.evaluation

    def request_stop(self):
        """Ends the run after the next step with a checkpoint, `stopped` set; on all ranks, whichever asks.

        Safe in a signal handler and from another thread.
        """
        self._stop_wanted = True

    def _vote(self):
        """What this rank has to say to all: the sums of these are the same on all ranks, and so is what follows."""
        late = self._seconds_to_save is not None and time.monotonic() - self._saved_at >= self._seconds_to_save
        return float(_STOP * self._stop_wanted + (late and self.rank == 0))

    def _steps_done(self):
        return self.position.epoch * self.steps_per_epoch + -(-self.position.batch // self.step.accumulate)

    def _epoch(self, epoch):
        began = time.perf_counter()
        record, images_seen = None, 0
        batches = iter(self._batches_of(epoch, self.position.batch))
        while self.position.batch < self.batches_per_epoch and self._steps_done() < self.total_steps:
            record, count, votes = self._one_update(epoch, batches)
            images_seen += count
            self._account(record)
            if votes >= _STOP:
                self.stopped = True
                break
            due = self.checkpoint_steps and (record["step"] + 1) % self.checkpoint_steps == 0
            if due or votes:
                if self.checkpoints is not None and self.position.batch < self.batches_per_epoch:
                    self.save()
        if self.position.batch == self.batches_per_epoch:
            self.position = Position(epoch + 1, 0)
        if self.progress and record:
            self.progress.epoch(record, time.perf_counter() - began, images_seen)

    def _one_update(self, epoch, batches):
        """Trains by the next micro-batches up to an update; returns (record, images on all ranks, sum of votes)."""
        number = self._steps_done()
        lr = float(self.learning_rates[number])
        due = min(self.step.accumulate, self.batches_per_epoch - self.position.batch)
        group, waited, count = [], 0.0, 0
        began = time.perf_counter()
        for index in range(due):
            asked = time.perf_counter()
            try:
                batch = next(batches)
            except StopIteration:
                at = self.position.batch + index
                raise ValueError(
                    f"epoch {epoch} ended after {at} batches, but len() promised {self.batches_per_epoch}"
                ) from None
            waited += time.perf_counter() - asked
            images, labels, weights = unpack(batch)
            report = self.step(images, labels, weights, lr=lr, vote=self._vote())
            count += len(labels) * self.size
            # A view of the loader's ring lives until the next batch is asked for: all but the last are copied.
            ids = getattr(batch, "ids", None)
            group.append((images, labels, weights, ids) if index == due - 1 else _copies(images, labels, weights, ids))
        if report is None:
            report = self.step.apply(lr, self._vote())
        seconds = time.perf_counter() - began
        self.position = Position(epoch, self.position.batch + due)
        trouble, fatal = self.guard.look(report)
        if trouble:
            self._trouble(trouble, fatal, report, group, number, lr)
        record = {
            "step": number,
            "epoch": epoch,
            "loss": report.loss,
            "lr": lr,
            "loss_scale": report.loss_scale,
            "step_ms": round((seconds - waited) * 1e3, 3),
            "wait_ms": round(waited * 1e3, 3),
            "images_per_s": round(count / seconds, 2),
        }
        return record, count, report.votes

    def _account(self, record):
        if self._metrics:
            self._metrics.write(record)
        if self._events:
            self._events.write(record["step"], {name: record[name] for name in record if name not in ("step", "epoch")})
        if self.progress:
            for compilation in self.step.new_compilations():
                self.progress.say(f"train step compiled in {compilation.seconds:.1f} s ({compilation.changed})")
            self.progress.step(record)
        for callback in self.callbacks:
            callback.on_step(self, record)

    def _trouble(self, trouble, fatal, report, group, number, lr):
        """Writes a capsule for the first trouble and for the one that ends the run; then raises Diverged."""
        told = f"step {number}: {trouble}"
        if self.folder is not None and (fatal or not self.capsules):
            name = f"step{number}" if self.size == 1 else f"step{number}-rank{self.rank}"
            path = self.folder / "capsules" / name
            recipe = self.checkpoints.recipe if self.checkpoints is not None else {}
            meta = {
                "trouble": trouble,
                "step": number,
                "epoch": self.position.epoch,
                "lr": lr,
                "loss": report.loss,
            }
            meta |= {
                "broken_loss_scale": report.loss_scale,
                "rank": self.rank,
                "ranks": self.size,
                "recipe": recipe,
            }
            suspect = write_capsule(path, self.step, group, meta)
            self.capsules.append(path)
            told += f"; first not finite: {suspect}; run it again: python -m launch.replay {path}"
        if fatal:
            raise Diverged(told)
        if self.progress:
            self.progress.say(told + "; the step was skipped")

    def _batches_of(self, epoch, start):
        if hasattr(self.batches, "epoch"):
            return self.batches.epoch(epoch, start=start)
        return itertools.islice(iter(self.batches), start, None)

    def _after_epoch(self, epoch):
        last = self._steps_done() >= self.total_steps
        result = None
        if self.evaluator is not None and ((epoch + 1) % self.eval_interval == 0 or last):
            result = self.evaluate()
            for callback in self.callbacks:
                callback.on_evaluation(self, epoch, result)
        if self.checkpoints is not None and ((epoch + 1) % self.checkpoint_interval == 0 or last):
            self.save(result)
        if self._metrics:
            self._metrics.flush()
            write_curves(self.folder, self.folder.name)
        if self._events:
            self._events.flush()
        for callback in self.callbacks:
            callback.on_epoch(self, epoch)

    def evaluate(self):
        """Evaluates the weights, and their average if there is one; writes eval.json, eval_averaged.json. Collective.

        Returns the EvalResult of the weights; that of the average is in `averaged_evaluation`.
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
        epoch = self.position.epoch if self.position.batch == 0 else self.position.epoch + 1
        if self.progress:
            self.progress.evaluation(epoch, result, kind)
        if self.rank == 0 and self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            result.write(self.folder / name)
            append_evaluation(self.folder, {"epoch": epoch, "weights": kind, **asdict(result)})

    def save(self, result=None):
        """Writes a checkpoint of where the run stands; returns its folder. result ranks it for `best`. Collective."""
        path = self.checkpoints.save(
            self.step,
            self.position,
            metric=result.top1 if result else None,
            evaluation=asdict(result) if result else None,
            average_statistics=self.average_statistics,
        )
        self._saved_at = time.monotonic()
        return path


def _copies(*arrays):
    return tuple(None if array is None else array.copy() for array in arrays)


def _first_epoch(batches):
    return batches.epoch(0) if hasattr(batches, "epoch") else batches
