"""Runs a broken step again in one process:  python -m launch.replay CAPSULE

A capsule is the folder that a run writes when its loss is not finite or steps overflow in a row: batch, weights and
state. Prints what the run saw, the first layer that is not finite here, and what the step does here.
"""

import sys
from pathlib import Path

from cellwright.launch.host.runtime import quiet_environment, start_mindspore
from cellwright.launch.settings.flags import Parser

PROGRAM = "python -m launch.replay"


def _recipe(values):
    """The Recipe whose fields were stored as JSON, where tuples became lists."""
    from cellwright.nets import Recipe

    known = {
        name: tuple(v) if isinstance(v, list) else v
        for name, v in values.items()
        if name in Recipe.__dataclass_fields__
    }
    return Recipe(**known)


def replay_capsule(folder, device_target="CPU", threads=1):
    """Runs the capsule in a folder and returns (capsule, suspect line, StepReport)."""
    start_mindspore(device_target, 0, threads, 0)
    from cellwright.engine import LossScale, Momentum, SoftmaxCrossEntropy, TrainOneStep, read_crash_dump, replay
    from cellwright.nets import create_network

    capsule = read_crash_dump(folder)
    meta = capsule.meta
    if not meta["recipe"]:
        raise ValueError(f"{folder} holds no recipe: build the step yourself and call engine.replay(capsule, step)")
    recipe = _recipe(meta["recipe"])
    network = create_network(recipe.net, recipe.num_classes, recipe.image_size, **recipe.network_settings)
    step = TrainOneStep(
        network,
        SoftmaxCrossEntropy(recipe.num_classes, recipe.label_smooth_factor, recipe.smooth_off),
        Momentum(network.trainable_params(), recipe.momentum, recipe.weight_decay, recipe.decays),
        normalise=meta["normalise"],
        amp_level=meta["amp_level"],
        loss_scale=LossScale.fixed(meta["broken_loss_scale"]),
        accumulate=meta["micro_batches"],
        seed=meta["seed"],
    )
    return capsule, *replay(capsule, step)


def main(arguments=None):
    parser = Parser(prog=PROGRAM, description=__doc__.splitlines()[0])
    parser.add_argument("capsule", help="the capsule's folder")
    parser.add_argument("--device_target", default="CPU", choices=("CPU", "GPU", "Ascend"), help="where to run it")
    parser.add_argument("--threads", type=int, default=2, help="threads of the graph, on CPU")
    given = parser.parse_args(arguments)
    quiet_environment(given.threads)
    try:
        capsule, suspect, report = replay_capsule(Path(given.capsule), given.device_target, given.threads)
    except ValueError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    meta = capsule.meta
    print(f"step {meta['step']} of rank {meta['rank']} of {meta['ranks']}: {meta['trouble']}")
    samples = ", ".join(map(str, capsule.ids[:8])) + (" ..." if len(capsule.ids) > 8 else "")
    print(f"samples {samples}; weights {meta['weights_are']}")
    print(f"then: first not finite was {meta['first_nonfinite']}")
    print(f"here: first not finite is {suspect}")
    print(
        f"here: loss {report.loss:g}, {'finite' if report.finite else 'not finite'}, loss scale {report.loss_scale:g}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
