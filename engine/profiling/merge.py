"""From the records of all ranks to one profile, a dict that is written as JSON."""

import dataclasses
import math
import statistics
from collections import defaultdict

from cellwright.engine.profiling.table import spread, tables

FORMAT = 1


def build_profile(records, about=None, verdict=None, overhead=None, worker_spans=()):
    """Returns the profile of RankRecords (by rank, at least one step each).

    Its tables are those of rank 0; every rank has its phases in `ranks`. about: settings, machine and versions.
    verdict: a Verdict. overhead: {"plain_ms", "profiled_ms"} of a step. worker_spans: of rank 0, a list for each
    worker of (name, begin, end, sample).
    """
    first = records[0]
    if not first.steps:
        raise ValueError("the profile holds no step: fewer were run than it was to skip")
    times = [step.nanoseconds / 1e6 for step in first.steps]
    images = sum(statistics.median(step.images for step in record.steps) for record in records)
    median = statistics.median(times)
    zero = first.steps[0].begin
    profile = {
        "format": FORMAT,
        "about": about or {},
        "peaks": first.peaks,
        "step_ms": {"median": median, "spread": spread(times), "steps": len(times)},
        "images_per_s": 1e3 * images / median,
        **tables(first.steps, first.peaks),
        "ranks": [_rank(record) for record in records],
        "loss": [[number, step.loss] for number, step in enumerate(first.steps)],
        "ring": [[(moment - zero) / 1e6, ready, slots] for moment, ready, slots in first.ring],
        "loader": _loader(worker_spans, first),
        "spans": _spans(first.spans),
        "lost_events": sum(record.lost_events for record in records),
        "overhead": overhead,
        "verdict": dataclasses.asdict(verdict) if verdict else None,
    }
    return clean(profile)


def _rank(record):
    times = [step.nanoseconds / 1e6 for step in record.steps]
    each = [step.phases() for step in record.steps]
    return {
        "rank": record.rank, "host": record.host, "threads": record.threads, "cores": list(record.cores),
        "ms": statistics.median(times), "spread_ms": spread(times),
        "phases": {name: statistics.median(phases[name] for phases in each) / 1e6 for name in each[0]},
        "peaks": record.peaks, "clock_offset_us": record.offset / 1e3, "clock_error_us": record.error / 1e3,
    }  # fmt: skip


def _loader(worker_spans, record):
    """Returns {"workers", "busy": share of their time, "ms_per_image": by stage} over the recorded steps, or None."""
    begin, end = record.steps[0].begin, record.steps[-1].end
    sums, samples = defaultdict(int), 0
    for spans in worker_spans:
        for name, start, stop, sample in spans:
            if begin <= start < end:
                sums[name] += stop - start
                samples += name == "augment" and sample >= 0
    if not samples:
        return None
    busy = sum(sums.values()) / (len(worker_spans) * (end - begin))
    stages = {name: nanoseconds / 1e6 / samples for name, nanoseconds in sums.items()}
    return {"workers": len(worker_spans), "busy": busy, "ms_per_image": stages, "images": samples}


def _spans(spans):
    sums = defaultdict(list)
    for span in spans:
        sums[span.name].append((span.end - span.begin) / 1e6)
    return [{"name": name, "count": len(times), "ms": sum(times)} for name, times in sorted(sums.items())]


def clean(value):
    """Returns the value with everything that JSON does not know replaced: numbers that are not finite are None."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [clean(item) for item in value]
    if isinstance(value, float) or type(value).__module__ == "numpy":
        value = value.item() if hasattr(value, "item") else value
        return None if isinstance(value, float) and not math.isfinite(value) else value
    return value
