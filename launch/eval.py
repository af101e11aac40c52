"""Evaluates a network exactly:  [mpirun -n N] python -m launch.eval --net genet --ckpt FILE|RUN [--data_path DIR]

Prints and stores what it counted: every held-back image once, whatever the number of ranks and the batch size.
"""

import dataclasses
import sys

from cellwright.launch.build import build_loss, build_network
from cellwright.launch.data import eval_loader, open_sources
from cellwright.launch.host.job import checking, run
from cellwright.launch.settings.run_settings import read_eval_settings

PROGRAM = "python -m launch.eval"


def read(arguments, program):
    with checking():
        return read_eval_settings(arguments, program)


def evaluate(job, resolved, weights, output):
    """Evaluates the weights of a file and returns the exit code."""
    from cellwright.engine import Evaluator
    from cellwright.nets import load_pretrained

    world, settings, recipe = job.world, resolved.run, resolved.recipe
    with checking():
        job.start_device(settings, collective=False)
        _, source = open_sources(settings, train=False)
        if "num_classes" not in resolved.given:
            recipe = dataclasses.replace(recipe, num_classes=len(source.classes))
        job.use_compile_cache(settings, PROGRAM, recipe)
        network = build_network(recipe)
        load_pretrained(network, weights, whole=True)  # a head drawn at random is not to be judged
        network = job.accelerate(network, settings)
        batches = eval_loader(source, recipe, settings, world, **job.loader_options)
    with batches:
        result = Evaluator(network, build_loss(recipe), normalise=(recipe.mean, recipe.std), world=world)(
            batches.epoch(0)
        )
    if world.rank == 0:
        print(f"{weights} on {len(source)} images:")
        print(f"top-1 {100 * result.top1:.2f} % ({result.top1_correct}/{result.total})")
        print(f"top-5 {100 * result.top5:.2f} % ({result.top5_correct}/{result.total})  loss {result.loss:.6f}")
        if output:
            result.write(output)
            print(f"written to {output}")
    return 0


def main(arguments=None):
    return run(evaluate, read, arguments, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
