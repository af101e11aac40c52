"""Trains a network:  [mpirun -n N] python -m launch.train --net genet [--data_path DIR] ...

Every rank runs this; rank 0 speaks. Without --data_path the embedded images are used.
"""

import contextlib
import dataclasses
import math
import sys
import time
from pathlib import Path

import numpy as np

from cellwright.dataloader import Ledger
from cellwright.launch.announce import likely_cause, say_end, say_nothing_left, say_start
from cellwright.launch.build import build_evaluation, build_training, for_training_images
from cellwright.launch.data import open_sources
from cellwright.launch.data_record import check_resumed, data_record
from cellwright.launch.dry_run import show_dry_run, stops_before_training
from cellwright.launch.host.heartbeat import Heartbeat
from cellwright.launch.host.job import checking, run
from cellwright.launch.host.next_command import command_line
from cellwright.launch.host.signals import INTERRUPTED_EXIT_CODE, STOPPED_EXIT_CODE, StoppingOnSignals
from cellwright.launch.host.watchdog import Watchdog
from cellwright.launch.overlap import overlap_callbacks
from cellwright.launch.serving.model_card import write_model_card
from cellwright.launch.settings.output_file import check_output
from cellwright.launch.settings.resolve import read_settings, to_file
from cellwright.launch.settings.run_folder import new_run_folder, prepare, read_config, write_config
from cellwright.launch.settings.tracker import find_tracker
from cellwright.launch.settings.transforms import AUGMENTATION, flat

PROGRAM = "python -m launch.train"


def read(arguments, program):
    with checking():
        return read_settings(arguments, program)


def train(job, resolved):
    """Trains to the end and returns the exit code."""
    from cellwright.engine import Diverged, LogTo

    started, world = time.perf_counter(), job.world
    with checking():
        if stops_before_training(resolved.run):
            training, held_back = open_sources(resolved.run)
            return show_dry_run(job, for_training_images(resolved, training), training, held_back)
        folder = world.on_rank_0(lambda: _old_folder(resolved.run))
        start_log = find_tracker(resolved.run.tracker) if resolved.run.tracker else None
        built = build_training(job, resolved, PROGRAM, max_bad=resolved.run.max_bad)
    with contextlib.ExitStack() as loaders:
        loaders.enter_context(built.loader)
        with checking():
            evaluation = _evaluation(job, built, loaders)
            record = world.on_rank_0(lambda: _record(built, folder))
            built.loader.ledger = _ledger(built.resolved.run, world)
            # Nothing is written before this line: what is refused above leaves no trace.
            folder = world.on_rank_0(lambda: prepare(folder or _new_folder(built.resolved.run)))
            job.log.open(folder)
            built.loader.quarantine.path = folder / f"quarantine{_of_rank(world)}.csv"
            trainer = _trainer(job, built, evaluation, folder, record)
            position = _go_on(trainer.checkpoints, built.step, built.resolved.run)
        trackers = ()
        if world.rank == 0:
            about = {"world": {"ranks": world.size}, "data": record}
            write_config(folder, {**to_file(built.resolved), **about})
            if start_log:
                trackers = (LogTo(start_log(folder, read_config(folder))),)
            say_start(job, built, folder, chosen="recipe" not in resolved.given)
            if trainer.is_done(position):
                say_nothing_left(built.resolved)
        heartbeat = loaders.enter_context(contextlib.closing(Heartbeat(world)))
        watchdog = Watchdog(built.resolved.run.timeout, job.log.failed, heartbeat)
        trainer.callbacks += (_callback(job, built.loader, folder, watchdog), *trackers)
        trainer.callbacks += overlap_callbacks(job, built, trainer)
        try:
            with StoppingOnSignals(trainer.request_stop) as signals:
                result = trainer.run(position)
        except Diverged as error:
            return _diverged(world, built, error)
        finally:
            watchdog.close()
    if trainer.stopped:
        print(f"stopped by a signal; go on with: {command_line('train', world.size)} --resume {folder}", flush=True)
        return INTERRUPTED_EXIT_CODE if signals.by_hand and world.size == 1 else STOPPED_EXIT_CODE
    if world.rank == 0:
        write_model_card(folder)
        say_end(built, folder, result, trainer, time.perf_counter() - started)
    return 0


def _evaluation(job, built, loaders):
    """The Trainer's arguments for evaluation; none where nothing is held back."""
    every = built.resolved.run.eval_interval
    if not built.held_back or not every:
        return {}
    evaluator, batches = build_evaluation(job, built.network, built.loss, built.held_back, built.resolved)
    loaders.enter_context(batches)
    return {"evaluator": evaluator, "eval_batches": batches, "eval_interval": every}


def _trainer(job, built, evaluation, folder, record):
    from cellwright.engine import Checkpoints, Trainer

    world, settings, recipe = job.world, built.resolved.run, built.resolved.recipe
    checkpoints = Checkpoints(
        folder / "checkpoints",
        recipe=flat(recipe),
        recipe_defaults=AUGMENTATION,
        prefix=settings.checkpoint_prefix,
        keep=recipe.keep_checkpoint_max,
        world=world,
        global_batch=recipe.batch_size * world.size,
        data=record,
    )
    return Trainer(
        built.step,
        built.loader,
        built.learning_rates,
        epochs=recipe.epochs,
        max_steps=settings.max_steps,
        checkpoints=checkpoints,
        checkpoint_interval=recipe.checkpoint_interval_epochs,
        checkpoint_steps=settings.checkpoint_steps,
        checkpoint_minutes=settings.checkpoint_minutes or None,
        average_statistics=built.resolved.step.average_statistics,
        settings={"step": dataclasses.asdict(built.resolved.step), "kernels": settings.kernels},
        folder=folder,
        tensorboard=settings.tensorboard,
        world=world,
        log_interval=settings.log_interval or min(100, built.steps_per_epoch),
        log_format=settings.log_format,
        **evaluation,
    )


def _callback(job, loader, folder, watchdog):
    from cellwright.engine import Callback, Diverged

    class Watch(Callback):
        def on_step(self, trainer, record):
            watchdog.beat()

        def on_evaluation(self, trainer, epoch, result):
            if not math.isfinite(result.loss):
                raise Diverged(f"the loss of the evaluation after epoch {epoch + 1} is {result.loss}")

        def on_epoch(self, trainer, epoch):
            bad = int(job.world.allreduce(np.array([loader.quarantine.epoch_count(epoch)]))[0])
            if bad:
                files = "1 unreadable file" if bad == 1 else f"{bad} unreadable files"
                print(f"epoch {epoch}: {files} replaced by others, see {folder}/quarantine*.csv", flush=True)

    return Watch()


def _old_folder(settings):
    """The folder of the run that is to go on, or None for a new run."""
    if settings.resume:
        return Path(settings.resume)
    if settings.run_dir and (Path(settings.run_dir) / "config.yaml").exists():
        if settings.auto_resume:
            return Path(settings.run_dir)
        raise ValueError(
            f"--run_dir {settings.run_dir} already holds a run: choose another one, or go on with "
            f"--resume {settings.run_dir}"
        )
    return None


def _new_folder(settings):
    return Path(settings.run_dir) if settings.run_dir else new_run_folder("runs", settings.net)


def _record(built, folder):
    """The record of the images; ValueError where the run in `folder` was begun with others."""
    record = data_record(built.training, built.held_back)
    before = read_config(folder).get("data") if folder else None
    if before:
        check_resumed(before, record, folder, built.resolved.run.data_path)
    return record


def _go_on(checkpoints, step, settings):
    """Restores the newest whole checkpoint into the step and returns the Position from which to go on."""
    from cellwright.engine import Position

    if not (settings.resume or settings.auto_resume):
        return Position()
    path = checkpoints.latest_whole()
    if path is None:
        if settings.resume:
            raise ValueError(f"--resume {settings.resume}: no whole checkpoint in {checkpoints.folder}")
        print("no whole checkpoint there yet: starting", flush=True)
        return Position()
    position = checkpoints.restore(step, path, ignore=("epochs", "batch_size", "checkpoint_prefix"))
    print(f"going on from {path.name}: epoch {position.epoch}, batch {position.batch}", flush=True)
    return position


def _of_rank(world, separator="_"):
    return f"{separator}{world.rank}" if world.size > 1 else ""


def _ledger(settings, world):
    if not settings.ledger and not settings.verify_ledger:
        return None
    write = f"{settings.ledger}{_of_rank(world, '.')}" if settings.ledger else None
    world.on_rank_0(lambda: check_output("--ledger", write))
    return Ledger(write, settings.verify_ledger, world.rank, world.size)


def _diverged(world, built, error):
    """Says why the run ended and what to do; returns the exit code."""
    if world.rank == 0:
        sys.stderr.write(f"{PROGRAM}: {error}\n{likely_cause(built)}\n")
    return 1


def main(arguments=None):
    return run(train, read, arguments, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
