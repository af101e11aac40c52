"""What training and evaluation have in common: the start of a process, the network, the loss."""

import os
import sys
from pathlib import Path

from launch.runtime import cores_of_this_rank, quiet_environment, start_mindspore
from launch.world import open_world, run_or_abort


def run(job, read, arguments, program):
    """Runs `job(world, *read(arguments, program))` in this process and returns its exit code.

    The order matters: the loader's nursery, MPI, then MindSpore. A ValueError of `read` or of `job` before the work
    starts is a wrong setting: rank 0 prints its one line, exit code 2.
    """
    from dataloader import start_nursery

    start_nursery()
    world = open_world()
    quiet_environment(len(cores_of_this_rank()))
    if world.rank:
        sys.stdout = open(os.devnull, "w")
    return run_or_abort(lambda: _checked(job, read, world, arguments, program), world)


class BadSetting(ValueError):
    """A setting that cannot work, found before the work started."""


def _checked(job, read, world, arguments, program):
    try:
        if world.rank:
            sys.stderr, stderr = open(os.devnull, "w"), sys.stderr
        try:
            values = read(arguments, program)
        finally:
            if world.rank:
                sys.stderr = stderr
        return job(world, *values)
    except BadSetting as error:
        if world.rank == 0:
            sys.stderr.write(f"{program}: {error}\n")
        return 2


class checking:
    """Context manager: a ValueError inside is a wrong setting, on all ranks alike."""

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is ValueError:
            raise BadSetting(str(error)) from error


def start_device(settings, world):
    """Starts MindSpore for RunSettings on this rank."""
    cache = _cache_folder(world) if settings.compile_cache else None
    device = world.local_rank if settings.device_id is None else settings.device_id
    start_mindspore(settings.device_target, device, len(cores_of_this_rank()), settings.seed, cache)


def _cache_folder(world):
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "cellwright" / "graphs" / f"{world.rank}of{world.size}"


def build_network(settings, recipe, pretrained=None):
    """Returns the recipe's network; `pretrained` is a file of weights."""
    from nets import create_network

    return create_network(recipe.net, recipe.num_classes, recipe.image_size, pretrained=pretrained, **recipe.network_settings)


def build_loss(recipe):
    """Returns the recipe's loss cell."""
    from engine import SoftmaxCrossEntropy

    return SoftmaxCrossEntropy(recipe.num_classes, recipe.label_smooth_factor, recipe.smooth_off)
