"""The three short runs that a verdict is drawn from."""

import statistics
import time
from dataclasses import dataclass

import numpy as np

from cellwright.engine.loop.evaluate import unpack
from cellwright.engine.profiling.record import RankRecord
from cellwright.engine.profiling.recorder import Recorder
from cellwright.engine.profiling.verdict import Measurements, RankRun

_ALONE_SECONDS = (0.3, 3.0)  # how long the loader is watched at least and at most


@dataclass
class Runs:
    """Records of the same number of steps: as it was asked for, the same again with every kernel recorded, with one
    cached batch, and (None where it cannot be) with that batch and without communication. loader_ms: a batch of the
    loader alone; None: not measured. worker_spans: what the loader's workers did while every kernel was recorded.
    """

    plain: RankRecord
    profiled: RankRecord
    cached: RankRecord
    silent: RankRecord | None
    loader_ms: float | None
    worker_spans: list

    @property
    def overhead(self):
        """Returns what recording every kernel did to the median step."""
        return {"plain_ms": _median(self.plain), "profiled_ms": _median(self.profiled)}


def run_steps(step, batches, lr, steps, skip=0, kernels=False):
    """Trains by `batches` until `steps` updates after `skip` are recorded; returns the Recorder."""
    with Recorder(step, steps=steps, skip=skip, kernels=kernels) as recorder:
        for batch in recorder.watch(batches):
            step(*unpack(batch), lr=lr)
            if recorder.finished:
                break
    return recorder


def measure_runs(step, batches, lr, *, steps=8, skip=2, silence=None, barrier=None):
    """Makes the Runs of a TrainOneStep. Collective if it sums over ranks.

    batches: an iterator that does not end within skip + 3 steps + 4 updates. skip: updates before the first run,
    which compile. All but the recording are made twice, in turn, and the quicker one of each counts. silence: a
    context manager that takes the communication out of the step, or None. barrier: called before each run.
    """
    barrier = barrier or (lambda: None)

    def once(source, before=1, kernels=False):
        barrier()
        return run_steps(step, source, lr, steps, before, kernels).record

    plain = [once(batches, skip)]
    profiled = once(batches, kernels=True)
    spans = batches.worker_spans() if hasattr(batches, "worker_spans") else []
    same = _repeat([np.array(array) for array in unpack(next(iter(batches)))])
    loader_ms = _alone(batches, steps) if hasattr(batches, "occupancy") else None
    cached, silent = [], []
    for turn in range(2):  # what changes on the machine meanwhile is not taken for a cause
        cached.append(once(same))
        if silence is not None:
            barrier()
            with silence():
                silent.append(once(same))
            barrier()
        if turn == 0:
            plain.append(once(batches))
    best = [min(records, key=_median) if records else None for records in (plain, cached, silent)]
    return Runs(best[0], profiled, best[1], best[2], loader_ms, spans)


def _repeat(batch):
    while True:
        yield batch


def _alone(batches, count):
    """Returns ms that the loader alone needs for a batch, once what was ready is used up."""
    source, end = iter(batches), time.perf_counter() + _ALONE_SECONDS[1]
    for _ in range(batches.occupancy()[1]):
        next(source)
        if time.perf_counter() > end:
            break
    began, taken = time.perf_counter(), 0
    while taken < count or time.perf_counter() < began + _ALONE_SECONDS[0]:
        next(source)
        taken += 1
        if time.perf_counter() > end:
            break
    return 1e3 * (time.perf_counter() - began) / taken


def _median(record):
    """Median ms of the steps that did not compile; without any, of what is left without the compiling."""
    quiet = [step.nanoseconds for step in record.steps if not step.compiled]
    return statistics.median(quiet or [step.nanoseconds - 1e9 * step.compiled for step in record.steps]) / 1e6


def measurements(runs, step, *, gather=None, host="", cores=(), **known):
    """Returns the Measurements of all ranks, the same on each. Collective.

    gather: a picklable value -> the list of all ranks' values; None for one rank. host, cores: of this rank. known:
    further fields.
    """
    gather = gather or (lambda value: [value])
    record = runs.profiled
    mine = (
        _rank_run(runs.plain, host, record),
        _rank_run(runs.cached, host),
        _rank_run(runs.silent, host) if runs.silent else None,
        runs.loader_ms,
        tuple(cores),
        _phases(record),
        compiled_in(runs.plain),
        _worker_ms(runs.worker_spans, record),
    )
    as_is, cached, silent, loader_ms, affinity, phases, compiled, worker_ms = zip(*gather(mine))
    buckets = 1 if step.update.sums_in_update else len(step.update.reduce.bounds)
    facts = {
        "steps": len(runs.plain.steps), "recompiled_s": compiled[0][0], "recompilations": compiled[0][1],
        "loader_ms": max((ms for ms in loader_ms if ms), default=None),
        "worker_ms": max((ms for ms in worker_ms if ms), default=None), "affinity": affinity if all(affinity) else (),
        "buckets": buckets, "gradient_bytes": sum(4 * p.size for p in step.optimizer.params),
        "phases": phases[0],
    }  # fmt: skip
    return Measurements(as_is, cached, silent if None not in silent else (), **(facts | known))


def _worker_ms(worker_spans, record):
    """Ms that the loader's workers were busy for a step, all together; None without their spans."""
    begin, end = record.steps[0].begin, record.steps[-1].end
    inside = [stop - start for spans in worker_spans for _, start, stop, _ in spans if begin <= start < end]
    return sum(inside) / 1e6 / len(record.steps) if inside else None


def _phases(record):
    """Median ms of each phase."""
    each = [step.phases() for step in record.steps]
    return {name: statistics.median(phases[name] for phases in each) / 1e6 for name in each[0]}


def _rank_run(record, host, profiled=None):
    """Returns the RankRun of a record; profiled: the record in which the allreduce nodes are seen."""
    wait = statistics.median(step.wait for step in record.steps) / 1e6
    inside = [step.phases()["allreduce"] for step in profiled.steps] if profiled is not None else [0]
    return RankRun(_median(record), wait, statistics.median(inside) / 1e6, host)


def compiled_in(record):
    """Returns (seconds, number) of the compilations within a record's steps."""
    return sum(step.compiled for step in record.steps), sum(step.compiled > 0 for step in record.steps)
