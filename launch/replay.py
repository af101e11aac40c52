"""Runs a broken step again in one process:  python -m launch.replay DUMP

A crash dump is the folder that a run writes when its loss is not finite or steps overflow in a row: batch, weights,
state, and the settings of its step. Prints what the run saw, the first layer that is not finite here, and what the step
does here.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

from cellwright.launch.build import build_loss, build_network, build_step, fine_tuning
from cellwright.launch.host.job import Job
from cellwright.launch.host.mpi_world import World
from cellwright.launch.host.runtime import quiet_environment, start_mindspore
from cellwright.launch.settings.flag_parser import Parser
from cellwright.launch.settings.step_settings import StepSettings

PROGRAM = "python -m launch.replay"


def _settings(kind, values):
    """The settings dataclass whose fields were stored as JSON, where tuples became lists."""
    names = kind.__dataclass_fields__
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items() if name in names})


def build_dumped_step(meta, device_target="CPU"):
    """Returns the TrainOneStep of one rank that a crash dump's meta.json, a dict, is about: the very one of the run,
    but for the other ranks. ValueError where it does not say how the step was made.
    """
    from cellwright.nets import Recipe

    if not meta["recipe"]:
        raise ValueError("it holds no recipe: build the step yourself and call engine.replay(dump, step)")
    recipe, known = _settings(Recipe, meta["recipe"]), meta.get("settings") or {}
    settings = _settings(
        StepSettings, known.get("step") or {"accumulate": meta["micro_batches"], "drop_overflow": False}
    )
    run = SimpleNamespace(kernels=known.get("kernels", "stock"), device_target=device_target)
    job, network = Job(World(), None), build_network(recipe)
    options = {"groups": fine_tuning(network, settings), "seed": meta["seed"]}
    job.accelerate(network, run, meta["amp_level"], amp_dtype=settings.amp_dtype)
    options["kernels"] = job.step_kernels(run)
    return build_step(network, build_loss(recipe), recipe, settings, meta["amp_level"], **options)


def replay_dump(folder, device_target="CPU", threads=1):
    """Runs the crash dump in a folder and returns (dump, suspect line, StepReport)."""
    start_mindspore(device_target, 0, threads, 0)
    from cellwright.engine import read_crash_dump, replay

    dump = read_crash_dump(folder)
    try:
        step = build_dumped_step(dump.meta, device_target)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    return dump, *replay(dump, step)


def main(arguments=None):
    parser = Parser(prog=PROGRAM, description=__doc__.partition(":  ")[0])
    parser.add_argument("dump", help="the crash dump's folder")
    parser.add_argument("--device_target", default="CPU", choices=("CPU", "GPU", "Ascend"), help="where to run it")
    parser.add_argument("--threads", type=int, default=2, help="threads of the graph, on CPU (default: 2)")
    given = parser.parse_args(arguments)
    quiet_environment(given.threads)
    try:
        dump, suspect, report = replay_dump(Path(given.dump), given.device_target, given.threads)
    except ValueError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    meta = dump.meta
    print(f"step {meta['step']} of rank {meta['rank']} of {meta['ranks']}: {meta['trouble']}")
    samples = ", ".join(map(str, dump.ids[:8])) + (" ..." if len(dump.ids) > 8 else "")
    print(f"samples {samples}; weights {meta['weights_are']}")
    print(f"then: first not finite was {meta['first_nonfinite']}")
    print(f"here: first not finite is {suspect}")
    print(
        f"here: loss {report.loss:g}, {'finite' if report.finite else 'not finite'}, loss scale {report.loss_scale:g}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
