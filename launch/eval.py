"""Evaluates a network exactly:  [mpirun -n N] python -m launch.eval --ckpt RUN|FILE [--data_path DIR] ...

Prints and stores what it counted: every held-back image once, whatever the number of ranks and the batch size.
"""

import math
import sys

from cellwright.dataloader import ImageFolder
from cellwright.launch.build import build_evaluation, build_loss, build_network
from cellwright.launch.data import open_sources
from cellwright.launch.data_record import check_classes, split_record
from cellwright.launch.host.job import checking, run
from cellwright.launch.settings.output_file import check_output
from cellwright.launch.settings.resolve import read_eval_settings

PROGRAM = "python -m launch.eval"
# Flags by which the numbers are others than those of the run's own evaluations.
_OF_THE_RESULT = {"image_size", "eval_resize", "eval_crop_ratio", "mean", "std", "label_smooth_factor", "smooth_off"}


def read(arguments, program):
    with checking():
        return read_eval_settings(arguments, program)


def evaluate(job, resolved, weights, output):
    """Evaluates the weights of a file and returns the exit code."""
    world, settings = job.world, resolved.run
    with checking():
        job.start_device(settings, collective=False)
        _, source = open_sources(settings, train=False)
        here = settings.val_data_path or settings.data_path or "the embedded images"
        if settings.data_path and isinstance(source, ImageFolder):
            here = source.root  # the val/ beside the train/ that was typed
        if weights.data:
            check_classes(weights.data["classes"], source.classes, weights.given, here)
        resolved = resolved.for_images(len(source.classes), len(source), here)
        recipe = resolved.recipe
        network, loss = build_network(recipe), build_loss(recipe)
        weights.load(network, whole=True)  # a head drawn at random is not to be judged
        network = in_precision(job.accelerate(network, settings), resolved)
        job.use_compile_cache(resolved, PROGRAM, network)
        evaluator, batches = build_evaluation(job, network, loss, source, resolved)
        named = world.on_rank_0(lambda: _place(weights, source, output, resolved.typed & _OF_THE_RESULT))
    with batches:
        result = evaluator(batches.epoch(0))
    if not math.isfinite(result.loss):
        if world.rank == 0:
            sys.stderr.write(
                f"{PROGRAM}: the loss is {result.loss}: {weights} are the weights of a run that diverged\n"
            )
        return 1
    if world.rank == 0:
        _say(result, weights, len(source), here, *named)
    return 0


def in_precision(network, resolved):
    """Returns the network in the precision of the run that trained it if that is bfloat16; else in float32."""
    from cellwright.engine.step.precision import apply_precision, half_type

    level, dtype = resolved.amp_level, resolved.step.amp_dtype
    return apply_precision(network, level, dtype=dtype) if half_type(network, level, dtype) == "bfloat16" else network


def _place(weights, source, output, others):
    """(the file for the result or None, what is to be said of the images).

    Without --json it is in the run's folder: eval.json, or where the images are not those that the run held back,
    eval-<their digest>.json; of averaged weights eval_averaged.json; nowhere where `others`, names of flags, make other
    numbers than the run's. ValueError for a file that cannot be written.
    """
    here, data = split_record(source), weights.data
    same = not data or (data["held_back"] or {}).get("digest") == here["digest"]
    note = ""
    if data and data["training"]["digest"] == here["digest"]:
        note = " (the very images that it was trained on)"
    elif not same:
        note = " (not the images that the run held back)"
    if others and weights.run:
        note += f" (not as the run evaluates: {', '.join(f'--{name}' for name in sorted(others))})"
    if not output and weights.run and not others:
        stem = "eval_averaged" if weights.average_in else "eval"
        output = weights.run / (f"{stem}.json" if same else f"{stem}-{here['digest'][:8]}.json")
    check_output("--json", output)
    return output, note


def _say(result, weights, images, here, output, note):
    print(f"{weights} on {images} images of {here}{note}:")
    print("\n".join(result.shares()), f" loss {result.loss:.6f}")
    if output:
        result.write(output)
        print(f"written to {output}")


def main(arguments=None):
    return run(evaluate, read, arguments, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
