"""The report: one HTML file with its data, styles and scripts inside, for any browser and without a network."""

import html
import json
from pathlib import Path

from cellwright.engine.profiling.trace import bounded

_PARTS = Path(__file__).parent / "page"
TIMELINE_SPANS = 8000


def timeline(ranks, budget=TIMELINE_SPANS):
    """Returns the spans that the report draws: [{"rank", "track", "spans": [[name, begin ms, ms, colour key], ...]},
    ...].

    ranks: (RankRecord, its Spans). At most `budget` spans, the longest, on rank 0's clock from the first step on.
    """
    zero = min((record.steps[0].begin + record.offset for record, _ in ranks if record.steps), default=0)
    lanes = []
    for record, spans in ranks:
        kept, _ = bounded(spans, max(1, budget // len(ranks)))
        tracks = {}
        for span in kept:
            begin = (span.begin + record.offset - zero) / 1e6
            key = (span.args or {}).get("phase") or _colour(span)
            row = [span.name, round(begin, 4), round((span.end - span.begin) / 1e6, 4), key]
            tracks.setdefault(span.track, []).append(row)
        lanes += [
            {"rank": record.rank, "track": track, "spans": rows} for track, rows in sorted(tracks.items(), key=_order)
        ]
    return lanes


def _order(item):
    heads = ("steps", "host", "graph", "collectives", "nodes", "program", "loader")
    return next((k for k, head in enumerate(heads) if item[0].startswith(head)), len(heads)), item[0]


def _colour(span):
    return {
        "data wait": "data wait",
        "graph": "graph",
        "read": "read",
        "decode": "decode",
        "augment": "augment",
        "write": "write",
    }.get(span.name, "step" if span.track == "steps" else "host")


def write_report(path, profile, lanes=(), title="Profile"):
    """Writes the report of a profile (see build_profile) and of timeline lanes to an HTML file; returns its path."""
    page, style, *scripts = (
        (_PARTS / name).read_text(encoding="utf-8")
        for name in ("page.html", "page.css", "draw.js", "charts.js", "timeline.js", "table.js")
    )
    # What could end the script that holds the data, and the marks themselves, must not be in it.
    data = (
        json.dumps({**profile, "timeline": list(lanes)}, separators=(",", ":"), allow_nan=False)
        .replace("<", "\\u003c")
        .replace("{{", "{\\u007b")
    )
    for mark, text in (
        ("{{title}}", html.escape(title)),
        ("{{style}}", style),
        ("{{scripts}}", "\n".join(scripts)),
        ("{{data}}", data),
    ):
        page = page.replace(mark, text)
    Path(path).write_text(page, encoding="utf-8")
    return Path(path)
