"""What bounds the step, and what to try first: a pure function of measurements."""

import math
import statistics
from dataclasses import dataclass, field

# A cause is named when it costs at least this share of a step, and so many ms: less is within what runs differ by.
NOTABLE, NOTABLE_MS = 0.10, 0.3
_SMALL_BUCKET, _DEFAULT_BUCKET_MB = 1 << 20, 25


@dataclass(frozen=True)
class RankRun:
    """One rank in one run: medians over its steps in ms. step: from update to update; wait: for data; allreduce:
    inside its nodes."""

    step: float
    wait: float = 0.0
    allreduce: float = 0.0
    host: str = ""


@dataclass(frozen=True)
class Measurements:
    """What the verdict is drawn from. Runs are tuples of RankRun by rank; an empty one was not made.

    as_is: the run as it was asked for. cached: every step gets the same batch. silent: cached, and no communication.
    loader_ms: what the loader alone needs for a batch. worker_ms: time that its workers were busy for a step.
    recompiled: seconds of compiling within `steps` steps of as_is, and how often. affinity: the cores that each rank
    may use; threads: of each rank's graph. phases: ms of a step by phase.
    """

    as_is: tuple
    cached: tuple = ()
    silent: tuple = ()
    steps: int = 1
    loader_ms: float | None = None
    worker_ms: float | None = None
    workers: int = 0
    packed: bool = False
    buckets: int = 0
    gradient_bytes: int = 0
    recompiled_s: float = 0.0
    recompilations: int = 0
    affinity: tuple = ()
    threads: int = 1
    kernels: str = "auto"
    device_target: str = "CPU"
    batch_size: int = 0
    phases: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """bound: data, allreduce, straggler, compilation, cores or compute. costs: ms of a step by cause. flag: what to
    try first.

    gain: images per second then, as a multiple of now; None where it cannot be told. headroom: how many times faster
    the loader is than the step needs; None if not measured. straggler: its rank, or None.
    """

    bound: str
    text: str
    flag: str
    gain: float | None
    costs: dict
    headroom: float | None
    exposed_ms: float
    straggler: int | None


def judge(m):
    """Returns the Verdict on Measurements."""
    total = max(run.step for run in m.as_is)
    waiting = max(run.wait for run in m.as_is)
    cached = max((run.step for run in m.cached), default=total - waiting)
    alone, exposed = _alone(m, cached)
    if m.worker_ms is not None:
        # Waiting, and cores that the workers took: all that a cached batch can save. More is noise between the runs.
        cached = max(cached, total - waiting - m.worker_ms)
    slow, lag = _straggler(alone)
    compiling = 1e3 * m.recompiled_s / max(1, m.steps)
    crowd = _crowding(m)
    # Compiling makes some steps longer than the median, which knows nothing of them.
    whole = total + compiling if compiling > total else max(total, compiling)
    costs = {
        "data": max(0.0, total - cached),
        "allreduce": exposed,
        "straggler": lag,
        "compilation": compiling,
        "cores": total * (1 - 1 / crowd),
    }
    bound = max(costs, key=costs.get)
    if costs[bound] < max(NOTABLE * whole, NOTABLE_MS):
        bound = "compute"
    headroom = cached / m.loader_ms if m.loader_ms else None
    flag, gain = _advice(bound, m, total, cached, costs, whole)
    gained = f"expected gain up to {gain:.2f} x images/s" if gain else "its gain is known when it has run"
    text = " ".join(
        sentence
        for sentence in (
            _first(bound, m, total, whole, costs),
            _loader(m, headroom),
            _exposed(m, exposed, total),
            _ranks(m, slow, lag, alone),
            _compiled(m),
            _cores(m, crowd),
            f"Try first: {flag}; {gained}.",
        )
        if sentence
    )
    return Verdict(bound, text, flag, gain, costs, headroom, exposed, slow if lag >= NOTABLE * total else None)


def _alone(m, cached):
    """Returns ms of each rank's own work in a step, and ms that the exchange itself adds."""
    if len(m.as_is) == 1:
        return [cached], 0.0
    if m.silent:
        alone, seen = [run.step for run in m.silent], max(run.allreduce for run in m.as_is)
        exposed = max(0.0, cached - max(alone))
        return alone, min(exposed, seen) if seen else exposed
    # All ranks leave an allreduce together: the last one to come has waited least, and what it still needs is the
    # exchange.
    return [run.step - run.allreduce - run.wait for run in m.as_is], min(run.allreduce for run in m.as_is)


def _straggler(alone):
    """Returns (rank, ms) by which the slowest rank is behind the median of the others."""
    if len(alone) < 2:
        return 0, 0.0
    slow = max(range(len(alone)), key=alone.__getitem__)
    return slow, max(0.0, alone[slow] - statistics.median(alone[:slow] + alone[slow + 1 :]))


def _crowding(m):
    """Returns how many graph threads share a core of the host with the most of them; 1 where each has its own."""
    worst = 1.0
    for host in {run.host for run in m.as_is}:
        mine = [cores for run, cores in zip(m.as_is, m.affinity) if run.host == host]
        if mine and m.device_target == "CPU":
            worst = max(worst, len(mine) * m.threads / len(set().union(*map(set, mine))))
    return worst


def _gain(total, saved):
    """How many times faster a step is without `saved` ms; what noise makes of a small step is not believed."""
    return total / max(total - saved, total / 50)


def _advice(bound, m, total, cached, costs, whole):
    if bound == "data":
        cores = max((len(cores) for cores in m.affinity), default=m.workers)
        if 0 < m.workers < cores:
            fed = max(cached, total * m.workers / cores)
            return f"--workers {cores}", total / fed
        if not m.packed:
            return "python -m launch.pack, then --data_path PACK", total / cached
        return "a faster disk, or more cores for each rank", total / cached
    if bound == "allreduce":
        if m.buckets > 1 and m.gradient_bytes / m.buckets < _SMALL_BUCKET:
            fewer = math.ceil(m.gradient_bytes / (_DEFAULT_BUCKET_MB << 20))
            return f"--bucket_mb {_DEFAULT_BUCKET_MB}", _gain(total, costs[bound] * (1 - fewer / m.buckets))
        return "--accumulate 2", _gain(total, costs[bound] / 2)
    if bound == "straggler":
        return (
            f"look at the host of rank {_straggler(_alone(m, cached)[0])[0]}: --bind auto, other programs, heat",
            _gain(total, costs[bound]),
        )
    if bound == "compilation":
        return "batches of one shape (drop or pad the last one)", _gain(whole, costs[bound])
    if bound == "cores":
        return "--bind auto, and no more ranks than cores", _gain(total, costs[bound])
    if m.kernels == "stock" and m.device_target == "CPU":
        return "--kernels auto", None
    fixed = sum(m.phases.get(name, 0.0) for name in ("host", "gaps", "update", "allreduce"))
    if m.batch_size and fixed:
        return f"--batch_size {2 * m.batch_size}", _gain(total, fixed / 2)
    return "--batch_size, twice what it is", None


def _first(bound, m, total, whole, costs):
    share = 100 * costs.get(bound, 0.0) / whole
    waiting = max(run.wait for run in m.as_is)
    how = f"{waiting:.1f} of them waiting for a batch"
    if waiting < costs["data"] / 2:
        how = f"most of them because its workers take the graph's cores: only {waiting:.1f} are waiting"
    sentences = {
        "data": f"The loader bounds the step: of {total:.1f} ms, {costs['data']:.1f} ({share:.0f} %) "
        f"go when batches are cached, {how}.",
        "allreduce": f"The allreduce bounds the step: of {total:.1f} ms, {costs['allreduce']:.1f} "
        f"({share:.0f} %) go without it.",
        "straggler": f"One slow rank bounds the step: of {total:.1f} ms, the others wait "
        f"{costs['straggler']:.1f} ({share:.0f} %).",
        "compilation": f"Compiling bounds the run: {costs['compilation']:.0f} ms a step, {share:.0f} % of the time.",
        "cores": f"Too few cores bound the step of {total:.1f} ms: graph threads share them.",
    }
    if bound in sentences:
        return sentences[bound]
    top = max(m.phases, key=m.phases.get, default=None)
    where = f", most of it {top} ({100 * m.phases[top] / max(total, 1e-9):.0f} %)" if top else ""
    return f"Compute bounds the step: {total:.1f} ms{where}."


def _loader(m, headroom):
    if headroom is None:
        return "Loader headroom was not measured."
    return f"Loader headroom {headroom:.1f} x: alone it makes a batch in {m.loader_ms:.1f} ms with {m.workers} workers."


def _exposed(m, exposed, total):
    if len(m.as_is) == 1:
        return "One rank: no allreduce."
    how = "" if m.silent else ", estimated from its nodes"
    return f"Exposed allreduce {exposed:.2f} ms ({100 * exposed / total:.0f} %) in {m.buckets} buckets{how}."


def _ranks(m, slow, lag, alone):
    if len(alone) < 2:
        return ""
    if lag < NOTABLE * max(alone):
        return f"No straggler: the slowest rank, {slow}, is {lag:.1f} ms behind."
    host = f" on {m.as_is[slow].host}" if m.as_is[slow].host else ""
    return f"Straggler: rank {slow}{host}, {lag:.1f} ms behind the others."


def _compiled(m):
    if not m.recompilations:
        return "No recompilation."
    return f"{m.recompilations} recompilations in {m.steps} steps, {m.recompiled_s:.1f} s."


def _cores(m, crowd):
    if not m.affinity or m.device_target != "CPU":
        return ""
    where = f"{len(m.as_is)} x {m.threads} graph threads on {len(set().union(*map(set, m.affinity)))} cores"
    if crowd > 1:
        return f"Cores: {where}, {crowd:.1f} threads to a core."
    return f"Cores: {where}, each on its own."
