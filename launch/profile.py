"""Shows where a step's time goes, and what to try first:  [mpirun -n N] python -m launch.profile --net genet ...

Takes the flags of launch.train and trains for a few steps as they say: plain, with every kernel recorded, with a
cached batch, and without communication. Writes profile.json, trace.json (for ui.perfetto.dev) and report.html. Of two
profiles, `python -m launch.profile --compare A.json B.json` tells which kernels became slower or faster.
"""

import dataclasses
import json
import shutil
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from cellwright.dataloader import ImageFolder
from cellwright.launch.build import build_training
from cellwright.launch.host.clock_offsets import align
from cellwright.launch.host.job import checking, run
from cellwright.launch.host.machine import machine, versions
from cellwright.launch.settings.flag_parser import Parser, setting
from cellwright.launch.settings.resolve import read_settings
from cellwright.launch.settings.run_folder import new_run_folder, prepare
from cellwright.launch.settings.sections import PROFILE

PROGRAM = "python -m launch.profile"
WORKER_SPANS = 1 << 14  # of each loader worker: 512 KiB


@dataclass(frozen=True)
class ProfileSettings:
    """profile"""

    profile_steps: int = setting(8, "steps of each of the runs")
    warm_up: int = setting(3, "steps before them, which compile and fill the caches")
    out: str | None = setting(None, "folder for the three files; none: a new one in runs/", value="DIR")
    trace_events: int = setting(60_000, "events in trace.json; the shortest are left out first")

    def __post_init__(self):
        for name, least in (("profile_steps", 2), ("warm_up", 1), ("trace_events", 100)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")


class Endless:
    """The batches of a loader, epoch after epoch."""

    def __init__(self, loader):
        self.loader, self.occupancy, self.worker_spans = loader, loader.occupancy, loader.worker_spans
        self._epoch, self._batches = 0, iter(loader.epoch(0))

    def __iter__(self):
        return self

    def __next__(self):
        batch = next(self._batches, None)
        if batch is None:
            self._epoch += 1
            self._batches = iter(self.loader.epoch(self._epoch))
            batch = next(self._batches)
        return batch


def read(arguments, program):
    with checking():
        resolved, own = read_settings(arguments, program, ProfileSettings, acts_on=PROFILE)
        if resolved.step.overlap == "auto":
            raise ValueError("--overlap auto: a profile measures one way, True or False")
        return resolved, own


def profile(job, resolved, own):
    """Makes the profile and returns the exit code. Collective."""
    # A graph from MindSpore's compile cache has lost the names of its cells, and the kernels those of their layers.
    resolved = dataclasses.replace(resolved, given={**resolved.given, "compile_cache": False})
    from cellwright.engine import profiling

    world = job.world
    here = machine()  # before this rank is bound to its own cores
    with checking():
        built = build_training(job, resolved, PROGRAM, spans=WORKER_SPANS)
        resolved, step, loader = built.resolved, built.step, built.loader
        settings, recipe = resolved.run, resolved.recipe
        folder = world.on_rank_0(lambda: _folder(own, settings))
        job.log.open(folder)
    world.barrier()
    peaks = profiling.measure_peaks(job.cores.threads)
    with loader:
        runs = profiling.measure_runs(
            step,
            Endless(loader),
            float(built.learning_rates[0]),
            steps=own.profile_steps,
            skip=own.warm_up,
            silence=_silence(step),
            barrier=world.barrier,
        )
    record = runs.profiled
    _checkpoint(step, folder, world, record)
    record.rank, record.host, record.peaks = world.rank, socket.gethostname(), peaks
    record.workers, record.threads, record.cores = loader.workers, job.cores.threads, job.cores.graph
    record.offset, record.error = align(world.comm, world.rank, world.size)
    known = {
        "workers": loader.workers,
        "packed": not isinstance(built.training, ImageFolder),
        "threads": record.threads,
    }
    known |= {"kernels": settings.kernels, "device_target": settings.device_target, "batch_size": recipe.batch_size}
    gather = world.allgather_object
    verdict = profiling.judge(
        profiling.measurements(runs, step, gather=gather, host=record.host, cores=record.cores, **known)
    )
    spans = _spans(profiling, record, runs.worker_spans)
    kept, left = profiling.bounded(spans, own.trace_events // world.size)
    ranks = world.allgather_object((_light(record, world.rank), kept, left))
    if world.rank == 0:
        ranks[0] = (record, kept, left)
        about = {
            "net": settings.net, "batch_size": recipe.batch_size, "image_size": recipe.image_size, "ranks": world.size,
            "settings": {"run": vars(settings), "step": vars(resolved.step)}, "machine": here, "versions": versions(),
        }  # fmt: skip
        made = profiling.build_profile([r for r, _, _ in ranks], about, verdict, runs.overhead, runs.worker_spans)
        _write(profiling, folder, made, ranks, own.trace_events)
        print(profiling.table_text(made))
        print(f"\n{verdict.text}\n\n{folder}/report.html, {folder}/trace.json, {folder}/profile.json", flush=True)
    return 0


def _folder(own, settings):
    folder = Path(own.out) if own.out else new_run_folder("runs", f"profile-{settings.net}", "--out")
    return prepare(folder, "--out")


def _silence(step):
    """The context manager that takes the communication out of this step, or None where it cannot be taken out."""
    if not getattr(step.update.reduce.allreduce, "shared", False):
        return None
    from cellwright.kernels.nodes import silence

    return silence


def _checkpoint(step, folder, world, record):
    """Writes a checkpoint for the trace, and takes it away again."""
    from cellwright.engine import Checkpoints, Position
    from cellwright.engine.profiling import Span

    began = time.perf_counter_ns()
    saved = Checkpoints(folder / "checkpoints", recipe={}, world=world).save(
        step, Position(0, 1), average_statistics=False
    )
    record.spans.append(Span("host", "checkpoint", began, time.perf_counter_ns()))
    world.barrier()
    if world.rank == 0:
        shutil.rmtree(Path(saved).parent)


def _spans(profiling, record, worker_spans):
    """All Spans of this rank within its recorded steps, those of its loader workers included."""
    begin = record.steps[0].begin
    end = max([record.steps[-1].end, *(span.end for span in record.spans)])
    spans = profiling.rank_spans(record)
    for worker, found in enumerate(worker_spans):
        for name, start, stop, sample in found:
            if begin <= start < end:
                args = {"sample": sample} if sample >= 0 else {}
                spans.append(profiling.Span(f"loader worker {worker}", name, start, stop, args))
    return [span for span in spans if span.begin >= begin]


def _light(record, rank):
    """The record without its executions, to be sent to rank 0."""
    if rank == 0:
        return None
    return dataclasses.replace(record, steps=[dataclasses.replace(step, executions=[]) for step in record.steps])


def _write(profiling, folder, made, ranks, budget):
    (folder / "profile.json").write_text(json.dumps(made, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    lost = {f"rank {record.rank}": {"events": left[0], "ms": left[1] / 1e6} for record, _, left in ranks if left[0]}
    about = {"net": made["about"]["net"], "shortest_left_out": lost}
    pairs = [(record, kept) for record, kept, _ in ranks]
    profiling.write_trace(folder / "trace.json", profiling.chrome_trace(pairs, budget, about))
    name = f"{made['about']['net']}, batch {made['about']['batch_size']}, {made['about']['ranks']} ranks"
    profiling.write_report(folder / "report.html", made, profiling.timeline(pairs), name)


def compare(arguments):
    """Prints the comparison of two profiles and returns the exit code."""
    parser = Parser(prog=PROGRAM)
    parser.add_argument("--compare", nargs=2, metavar=("BEFORE", "AFTER"), required=True)
    from cellwright.engine.profiling.compare import compare_text

    profiles = []
    for path in parser.parse_args(arguments).compare:
        try:
            profiles.append(json.loads(Path(path).read_text(encoding="utf-8")))
            profiles[-1]["kernels"], profiles[-1]["step_ms"]["median"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            sys.stderr.write(f"{PROGRAM}: {path} is no profile: {error}\n")
            return 2
    print(compare_text(*profiles))
    return 0


def main(arguments=None):
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--compare" in arguments:
        return compare(arguments)
    return run(profile, read, arguments, PROGRAM)


if __name__ == "__main__":
    sys.exit(main())
