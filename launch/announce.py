"""What a run says: at its start, at its end, and when it can't go on."""

import shlex
import sys
from itertools import pairwise

from cellwright.dataloader import ImageFolder
from cellwright.dataloader.sources.folder import numbers_by_value
from cellwright.launch.host.next_command import command_line
from cellwright.launch.settings.embedded_images import ridge_accuracy
from cellwright.launch.settings.small_recipe import SMALL_SET


def say_start(job, built, folder, chosen):
    """Prints what is trained on what, and how. chosen: whether nobody named the recipe."""
    world, settings, recipe = job.world, built.resolved.run, built.resolved.recipe
    classes, side = plural(recipe.num_classes, "class", "classes"), recipe.image_size
    form = f" (extra {settings.extra}, mlp {settings.mlp})" if settings.net == "genet" else ""
    print(f"{settings.net}{form}, {classes}, {side}x{side} pixels")
    if settings.data_path is None:
        print("no --data_path: training on the embedded cut of Fashion-MNIST, with a recipe shortened for it")
    elif chosen and settings.recipe == "small":
        print(f"fewer than {SMALL_SET:,} images: the small recipe; --recipe published takes the one of the publication")
    held = f"{len(built.held_back)} held back" if built.held_back else "none held back"
    epochs = plural(recipe.epochs, "epoch")
    print(
        f"{plural(len(built.training), 'training image')}, {held}; {epochs} of {plural(built.steps_per_epoch, 'step')}"
    )
    _say_of_the_folder(built.training, settings)
    print(rate_line(built))
    by = "" if job.backend == "none" else f" ({job.backend})"
    print(
        f"{plural(world.size, 'rank')} on {settings.device_target}{by}, batch {recipe.batch_size} each; "
        f"{plural(built.loader.workers, 'loader worker')} each"
    )
    precision = precision_line(built, settings.device_target)
    print(f"{precision}\n" * bool(precision) + f"run folder: {folder}", flush=True)


def precision_line(built, device_target):
    """Returns the line on what computes in half precision; "" where nothing does, or where a device does it."""
    half = built.step.settings["amp_dtype"]
    if half == "bfloat16":
        from cellwright.kernels.compiler import forms

        return f"bfloat16: {forms.describe()}"
    if half == "float16" and device_target == "CPU":
        return "float16: stock operators, many times slower than float32 on a CPU; its fast half is bfloat16"
    return _hint(built.network) if half == "float32" and device_target == "CPU" else ""


def _hint(network):
    """The line that tells of bfloat16 where this machine is fast in it and programs run the network; else ""."""
    compiler = sys.modules.get("cellwright.kernels.compiler")
    if compiler is None or not compiler.accelerated(network):
        return ""
    advantage = compiler.forms.advantage()
    if advantage < 1.6:  # of convolutions alone: of a whole step about 1.3
        return ""
    return f"this machine convolves bfloat16 {advantage:.1f} times as fast as float32: --amp_level O2 trains in it"


def _say_of_the_folder(source, settings):
    """Prints which files are left out, and whether classes that are numbers are in the order of text."""
    if not isinstance(source, ImageFolder):
        return
    if source.skipped:
        print(f"left out: {source.skipped_line()}; {command_line('doctor')} --data_path DIR lists them")
    if settings.sort_classes == "name":
        pair = next(((a, b) for a, b in pairwise(source.classes) if numbers_by_value(a) > numbers_by_value(b)), None)
        if pair:
            print(f"classes in the order of text, {pair[0]!r} before {pair[1]!r}; --sort_classes number: of numbers")


def rate_line(built):
    """Returns the line on the highest learning rate and where it comes from."""
    recipe, batch = built.resolved.recipe, built.global_batch
    highest = f"learning rate {recipe.lr * recipe.rate_factor(batch):.4g} at its highest"
    if not recipe.lr_reference_batch:
        return f"{highest}, as --lr says"
    if batch == recipe.lr_reference_batch:
        return f"{highest}, for a global batch of {batch}"
    return (
        f"{highest}: {recipe.lr:g} for a batch of {recipe.lr_reference_batch}, "
        f"times {batch}/{recipe.lr_reference_batch} (linear rule; --lr is taken as it is)"
    )


def say_nothing_left(resolved):
    """Prints that a run that was to go on has come to its end."""
    steps = f" or {plural(resolved.run.max_steps, 'step')}" if resolved.run.max_steps else ""
    more = "--max_steps" if resolved.run.max_steps else "--epochs"
    print(f"nothing left to do after {plural(resolved.recipe.epochs, 'epoch')}{steps}; {more} for more")


def say_end(built, folder, result, trainer, seconds):
    """Prints the result and lines that go on from it, each of which works when it is typed."""
    settings, recipe = built.resolved.run, built.resolved.recipe
    if result:
        print(f"top-1 {100 * result.top1:.1f} % of {result.total} held-back images", end="")
        print(
            f" ({100 * ridge_accuracy():.1f} % by ridge regression on the pixels)" if settings.data_path is None else ""
        )
    print(f"done in {seconds:.0f} s; everything is in {folder}, in short in its README.md")
    print("what to type next:")
    run = shlex.quote(str(folder))
    if built.held_back:
        print(f"  {command_line('eval')} --ckpt {run}")
    ended_early = settings.max_steps and settings.max_steps < recipe.epochs * trainer.steps_per_epoch
    more = f"--max_steps {2 * settings.max_steps}" if ended_early else f"--epochs {recipe.epochs + 2}"
    if settings.max_steps and not ended_early:
        more += f" --max_steps {(recipe.epochs + 2) * trainer.steps_per_epoch}"
    print(f"  {command_line('train', trainer.size)} --resume {run} {more}", flush=True)


def likely_cause(built):
    """Returns a line on why a loss may have left the finite numbers, and what to try."""
    recipe = built.resolved.recipe
    rate = recipe.lr * recipe.rate_factor(built.global_batch)
    tries = [f"--lr {min(rate / 10, 0.1):.2g}"]
    if not recipe.warmup_epochs:
        tries.append("--warmup_epochs 1")
    if built.resolved.step.clip_norm is None:
        tries.append("--clip_norm 1")
    return f"the likely cause is a learning rate that is too high ({rate:.4g}); try {', or '.join(tries)}"


def plural(count, word, words=None):
    """Returns "1 step", "2 steps"."""
    return f"{count} {word if count == 1 else words or word + 's'}"
