"""curves.html: a run's curves as one page without scripts or other files."""

import html
import json
import math
from pathlib import Path

from cellwright.engine.loop.metrics import read_metrics

_WIDTH, _HEIGHT, _POINTS = 760, 200, 600
_STYLE = (
    "body{font:14px sans-serif;max-width:820px;margin:2em auto;color:#222}svg{width:100%;background:#fafafa}"
    "h2{font-size:15px;margin:1.2em 0 .2em}text{font-size:11px;fill:#666}"
    "polyline{fill:none;stroke:#1f6fb2;stroke-width:1.5}polygon{fill:#1f6fb2;opacity:.2}line{stroke:#ddd}"
)


def thin(points, count=_POINTS):
    """Returns at most `count` tuples (x, mean, low, high) of bins of equal length over a list of (x, y); NaN is left out."""
    points = [(x, y) for x, y in points if math.isfinite(y)]
    size = max(1, math.ceil(len(points) / count))
    bins = []
    for start in range(0, len(points), size):
        part = points[start : start + size]
        values = [y for _, y in part]
        bins.append((part[len(part) // 2][0], sum(values) / len(values), min(values), max(values)))
    return bins


def _plot(title, points):
    bins = thin(points)
    if not bins:
        return ""
    left, right = bins[0][0], bins[-1][0]
    low, high = min(b[2] for b in bins), max(b[3] for b in bins)
    across = (right - left) or 1
    up = (high - low) or abs(high) or 1

    def place(x, y):
        return f"{50 + (x - left) / across * (_WIDTH - 60):.1f},{10 + (high - y) / up * (_HEIGHT - 35):.1f}"

    mean = " ".join(place(x, y) for x, y, _, _ in bins)
    band = " ".join([place(x, lo) for x, _, lo, _ in bins] + [place(x, hi) for x, _, _, hi in reversed(bins)])
    marks = "".join(
        f'<line x1="50" x2="{_WIDTH - 10}" y1="{y}" y2="{y}"/><text x="44" y="{y + 4}" text-anchor="end">{value:.4g}</text>'
        for y, value in ((10, high), (_HEIGHT - 25, high - up if high == low else low))
    )
    ends = (
        f'<text x="50" y="{_HEIGHT - 8}">{left:g}</text>'
        f'<text x="{_WIDTH - 10}" y="{_HEIGHT - 8}" text-anchor="end">{right:g}</text>'
    )
    return (
        f'<h2>{html.escape(title)}: {bins[-1][1]:.4g}</h2><svg viewBox="0 0 {_WIDTH} {_HEIGHT}">{marks}{ends}'
        f'<polygon points="{band}"/><polyline points="{mean}"/></svg>'
    )


def write_curves(folder, title="run"):
    """Writes curves.html from metrics.jsonl and evaluations.jsonl of a run folder; returns its path.

    Lines are means of at most 600 bins, the band shows their lowest and highest value.
    """
    folder = Path(folder)
    steps = read_metrics(folder / "metrics.jsonl")
    evaluations = read_metrics(folder / "evaluations.jsonl")
    plots = [
        _plot(f"{name} by step", [(r["step"], r[name]) for r in steps])
        for name in ("loss", "lr", "loss_scale", "images_per_s")
    ]
    waiting = [(r["step"], 100 * r["wait_ms"] / max(r["wait_ms"] + r["step_ms"], 1e-9)) for r in steps]
    plots.append(_plot("waiting for data, % of the time, by step", waiting))
    for kind in sorted({r["weights"] for r in evaluations}):
        # A resumed run evaluates an epoch again that it had evaluated before it died: the last one counts.
        mine = list({r["epoch"]: r for r in evaluations if r["weights"] == kind}.values())
        for name in ("top1", "top5"):
            scores = [(r["epoch"], 100 * r[f"{name}_correct"] / r["total"]) for r in mine]
            plots.append(_plot(f"{name} % of the {kind} weights by epoch", scores))
        plots.append(_plot(f"evaluation loss of the {kind} weights by epoch", [(r["epoch"], r["loss"]) for r in mine]))
    page = (
        f'<!doctype html><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
        f"<h1>{html.escape(title)}</h1>{''.join(plots)}\n"
    )
    (folder / "curves.html").write_text(page, encoding="utf-8")
    return folder / "curves.html"


def append_evaluation(folder, record):
    """Adds a line to evaluations.jsonl: epoch, weights ("trained" or "averaged") and the numbers of an EvalResult."""
    with open(Path(folder) / "evaluations.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
