"""One Chrome trace (chrome://tracing, ui.perfetto.dev) of all ranks on rank 0's clock, of a bounded size."""

import json
from pathlib import Path

from cellwright.engine.profiling.record import Span

BUDGET = 60_000  # events: about 8 MB
_ORDER = ("host", "graph", "collectives", "nodes", "program thread", "loader worker")


def rank_spans(record):
    """Returns all Spans of a rank: steps, graphs, kernels, and what was noted on the host and in the loader."""
    spans = list(record.spans)
    for number, step in enumerate(record.steps):
        spans.append(Span("steps", f"step {number}", step.begin, step.end, {"loss": step.loss}))
        for begin, end in step.graphs:
            spans.append(Span("host", "graph", begin, end))
        for e in step.executions:
            if e.lane:
                args = {"layer": e.layer, "phase": e.phase}
                if e.flops and e.end > e.begin:
                    args["GFLOP/s"] = round(e.flops / (e.end - e.begin), 1)
                spans.append(Span(e.lane, f"{e.kind} {e.layer}".strip(), e.begin, e.end, args))
    return spans


def bounded(spans, budget):
    """Returns (spans, left out: count and ns): the longest `budget` of them, in the order of time; steps, host and
    collectives stay.

    So what is missing is the shortest: the trace stays true to where the time went.
    """
    always = [span for span in spans if span.track in ("steps", "host", "collectives")]
    rest = [span for span in spans if span.track not in ("steps", "host", "collectives")]
    rest.sort(key=lambda span: span.begin - span.end)
    room = max(0, budget - len(always))
    kept, left = always[:budget] + rest[:room], rest[room:] + always[budget:]
    return sorted(kept, key=lambda span: span.begin), (len(left), sum(span.end - span.begin for span in left))


def chrome_trace(ranks, budget=BUDGET, about=None):
    """Returns the trace as a dict for JSON. ranks: (RankRecord, spans of that rank) by rank; their clocks are put on
    rank 0's.

    A rank gets its share of `budget` events, see `bounded`; the ring's counter and the names come on top.
    """
    events, left_out = [], {}
    share = max(1, budget // max(1, len(ranks)))
    kept = {record.rank: bounded(spans, share) for record, spans in ranks}
    times = [span.begin + record.offset for record, _ in ranks for span in kept[record.rank][0]]
    zero = min(times, default=0)
    for record, _ in ranks:
        spans, left = kept[record.rank]
        if left[0]:
            left_out[f"rank {record.rank}"] = {"events": left[0], "ms": left[1] / 1e6}
        host = f" on {record.host}" if record.host else ""
        events.append(_name("process_name", record.rank, 0, f"rank {record.rank}{host}"))
        tracks = sorted({span.track for span in spans}, key=_track_order)
        numbers = {track: number for number, track in enumerate(tracks)}
        events += [_name("thread_name", record.rank, number, track) for track, number in numbers.items()]
        events += [
            {"ph": "M", "name": "thread_sort_index", "pid": record.rank, "tid": n, "args": {"sort_index": n}}
            for n in numbers.values()
        ]
        shift = record.offset - zero
        for span in spans:
            event = {"ph": "X", "name": span.name, "pid": record.rank, "tid": numbers[span.track]}
            event |= {"ts": round((span.begin + shift) / 1e3, 3), "dur": round((span.end - span.begin) / 1e3, 3)}
            if span.args:
                event["args"] = span.args
            events.append(event)
        for moment, ready, slots in record.ring[:share]:
            ts = round((moment + shift) / 1e3, 3)
            events.append(
                {
                    "ph": "C",
                    "name": "ring",
                    "pid": record.rank,
                    "ts": ts,
                    "args": {"ready": ready, "not ready": slots - ready},
                }
            )
    clocks = {f"rank {r.rank}": {"offset_us": r.offset / 1e3, "error_us": r.error / 1e3} for r, _ in ranks}
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {**(about or {}), "clocks": clocks, "left_out": left_out, "budget": budget},
    }


def _track_order(track):
    head = next((k for k, name in enumerate(("steps", *_ORDER)) if track.startswith(name)), len(_ORDER))
    return head, track


def _name(kind, pid, tid, text):
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": text}}


def write_trace(path, trace):
    """Writes a trace as JSON in one line."""
    Path(path).write_text(json.dumps(trace, separators=(",", ":"), allow_nan=False, default=float), encoding="utf-8")
