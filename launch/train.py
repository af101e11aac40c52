"""Trains a network:  [mpirun -n N] python -m launch.train --net genet [--data_path DIR] ...

Every rank runs this; rank 0 speaks. Without --data_path the embedded images are used.
"""

import contextlib
import dataclasses
import sys
import time
from pathlib import Path

import numpy as np

from cellwright.dataloader import Ledger
from cellwright.launch.build import build_loss, build_network, build_step
from cellwright.launch.data import eval_loader, open_sources, train_loader
from cellwright.launch.dry_run import show_plan, wants_plan
from cellwright.launch.host.command_line import command_line
from cellwright.launch.host.job import checking, run
from cellwright.launch.host.signals import INTERRUPTED_EXIT_CODE, STOPPED_EXIT_CODE, StoppingOnSignals
from cellwright.launch.host.watchdog import Watchdog
from cellwright.launch.settings.embedded import ridge_accuracy
from cellwright.launch.settings.run_folder import new_run_folder, prepare, write_config
from cellwright.launch.settings.run_settings import read_settings, to_file

PROGRAM = "python -m launch.train"


def read(arguments, program):
    with checking():
        return read_settings(arguments, program)


def train(job, resolved):
    """Trains to the end and returns the exit code."""
    from cellwright.engine import Callback, Checkpoints, Evaluator, Position, Trainer

    class Watch(Callback):
        def on_step(self, trainer, record):
            watchdog.beat()

        def on_epoch(self, trainer, epoch):
            bad = int(world.allreduce(np.array([loader.quarantine.epoch_count(epoch)]))[0])
            if bad:
                print(
                    f"epoch {epoch}: {bad} unreadable files replaced by others, see {folder}/quarantine*.csv",
                    flush=True,
                )

    started, world, settings, recipe = time.perf_counter(), job.world, resolved.run, resolved.recipe
    with checking():
        if wants_plan(settings):
            training, held_back = open_sources(settings)
            recipe = _with_classes(recipe, training, resolved.given)
            return show_plan(job, dataclasses.replace(resolved, recipe=recipe), training, held_back)
        folder = _run_folder(settings, world)
        job.log.open(folder)
        job.start_device(settings)
        training, held_back = open_sources(settings, index_folder=folder if world.rank == 0 else None)
        recipe = _with_classes(recipe, training, resolved.given)
        resolved = dataclasses.replace(resolved, recipe=recipe)
        job.use_compile_cache(settings, PROGRAM, recipe, resolved.step)
        loader = train_loader(
            training,
            recipe,
            settings,
            world,
            quarantine=folder / f"quarantine{_of_rank(world)}.csv",
            max_bad=settings.max_bad,
            ledger=_ledger(settings, world),
            **job.loader_options,
        )
        network = build_network(recipe, settings.pretrained)
        loss = build_loss(recipe)
        if not (
            resolved.step.sync_batch_norm and world.size > 1
        ):  # the project's own kernels normalise a rank's batch alone
            amp_level = resolved.step.amp_level or recipe.amp_level(settings.device_target)
            job.accelerate(network, settings, amp_level, resolved.step.overlap)
        step = build_step(
            network,
            loss,
            recipe,
            resolved.step,
            settings.device_target,
            job.graph_allreduce(resolved.step.overlap),
            settings.seed * world.size + world.rank,  # of dropout: each rank its own masks
            job.step_kernels(settings),
        )
        rates = recipe.learning_rates(-(-len(loader) // resolved.step.accumulate))
    evaluation = {}
    if held_back and settings.eval_interval:
        evaluation = {
            "evaluator": Evaluator(network, loss, normalise=(recipe.mean, recipe.std), world=world),
            "eval_batches": eval_loader(held_back, recipe, settings, world, **job.loader_options),
            "eval_interval": settings.eval_interval,
        }
    checkpoints = Checkpoints(
        folder / "checkpoints",
        recipe=dataclasses.asdict(recipe),
        keep=recipe.keep_checkpoint_max,
        world=world,
        global_batch=recipe.batch_size * world.size,
    )
    watchdog = Watchdog(settings.timeout, job.log.failed)
    trainer = Trainer(
        step,
        loader,
        rates,
        epochs=recipe.epochs,
        max_steps=settings.max_steps,
        checkpoints=checkpoints,
        checkpoint_interval=recipe.checkpoint_interval_epochs,
        checkpoint_steps=settings.checkpoint_steps,
        checkpoint_minutes=settings.checkpoint_minutes or None,
        average_statistics=resolved.step.average_statistics,
        folder=folder,
        tensorboard=settings.tensorboard,
        world=world,
        log_interval=settings.log_interval or min(100, len(loader)),
        log_format=settings.log_format,
        callbacks=[Watch()],
        **evaluation,
    )
    if world.rank == 0:
        write_config(folder, {**to_file(resolved), "world": {"ranks": world.size}})
        _say_plan(settings, recipe, job, training, held_back, loader, folder)
    with contextlib.ExitStack() as loaders:
        for opened in (loader, evaluation.get("eval_batches")):
            if opened:
                loaders.enter_context(opened)
        position = Position()
        if settings.resume or settings.auto_resume:
            with checking():
                position = _go_on(checkpoints, step, settings)
        with StoppingOnSignals(trainer.request_stop) as signals:
            result = trainer.run(position)
    watchdog.close()
    if trainer.stopped:
        print(f"stopped by a signal; go on with: {command_line('train', world.size)} --resume {folder}", flush=True)
        return INTERRUPTED_EXIT_CODE if signals.by_hand and world.size == 1 else STOPPED_EXIT_CODE
    if world.rank == 0:
        _say_end(settings, recipe, folder, result, time.perf_counter() - started)
    return 0


def _run_folder(settings, world):
    folder = None
    if world.rank == 0:
        if settings.resume:
            folder = Path(settings.resume)
            if not (folder / "config.yaml").exists():
                raise ValueError(f"--resume {folder}: not a run folder, it holds no config.yaml")
        elif settings.run_dir:
            folder = Path(settings.run_dir)
            if not settings.auto_resume and (folder / "config.yaml").exists():
                raise ValueError(
                    f"--run_dir {folder} already holds a run: choose another one, or go on with --resume {folder}"
                )
        else:
            folder = new_run_folder("runs", settings.net)
        prepare(folder)
    return world.broadcast_object(folder)


def _go_on(checkpoints, step, settings):
    """Restores the newest whole checkpoint into the step and returns the Position from which to go on."""
    from cellwright.engine import Position

    path = checkpoints.latest_whole()
    if path is None:
        if settings.resume:
            raise ValueError(f"--resume {settings.resume}: no whole checkpoint in {checkpoints.folder}")
        print("no whole checkpoint there yet: starting", flush=True)
        return Position()
    position = checkpoints.restore(step, path, ignore=("epochs", "batch_size"))
    print(f"going on from {path.name}: epoch {position.epoch}, batch {position.batch}", flush=True)
    return position


def _with_classes(recipe, source, given):
    """The recipe with as many classes as the folder has, unless --num_classes says otherwise."""
    found = len(source.classes)
    if "num_classes" not in given:
        return dataclasses.replace(recipe, num_classes=found)
    if found > recipe.num_classes:
        raise ValueError(f"--num_classes {recipe.num_classes}: the training images have {found} classes")
    return recipe


def _of_rank(world, separator="_"):
    return f"{separator}{world.rank}" if world.size > 1 else ""


def _ledger(settings, world):
    if not settings.ledger and not settings.verify_ledger:
        return None
    write = f"{settings.ledger}{_of_rank(world, '.')}" if settings.ledger else None
    return Ledger(write, settings.verify_ledger, world.rank, world.size)


def _say_plan(settings, recipe, job, training, held_back, loader, folder):
    world = job.world
    form = f" (extra {settings.extra}, mlp {settings.mlp})" if settings.net == "genet" else ""
    print(f"{settings.net}{form}, {recipe.num_classes} classes, {recipe.image_size}x{recipe.image_size} pixels")
    if settings.data_path is None:
        print("no --data_path: training on the embedded cut of Fashion-MNIST, with a recipe shortened for it")
    held = f"{len(held_back)} held back" if held_back else "none held back"
    print(f"{len(training)} training images, {held}; {recipe.epochs} epochs of {len(loader)} steps")
    ranks = f"{world.size} rank{'s' if world.size > 1 else ''}"
    by = "" if job.backend == "none" else f" ({job.backend})"
    print(
        f"{ranks} on {settings.device_target}{by}, batch {recipe.batch_size} each; {loader.workers} loader workers each"
    )
    print(f"run folder: {folder}", flush=True)


def _say_end(settings, recipe, folder, result, seconds):
    if result:
        print(f"top-1 {100 * result.top1:.1f} % of {result.total} held-back images", end="")
        print(
            f" ({100 * ridge_accuracy():.1f} % by ridge regression on the pixels)" if settings.data_path is None else ""
        )
    print(f"done in {seconds:.0f} s; everything is in {folder}")
    print("what to type next:")
    data = f" --data_path {settings.data_path}" if settings.data_path else ""
    print(f"  python -m launch.eval --net {settings.net} --ckpt {folder}{data}")
    print(f"  python -m launch.train --resume {folder} --epochs {recipe.epochs + 2}", flush=True)


def main(arguments=None):
    return run(train, read, arguments, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
