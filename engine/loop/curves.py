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
_BY_STEP = ("loss", "lr", "loss_scale", "images_per_s")
_WAITING = "waiting for data, % of the time"


class Series:
    """A curve of any length in at most `limit` bins: `add(x, y)`; `bins()` returns tuples (x, mean, low, high).

    When the bins are full, neighbours are joined and all that come hold twice as many points. NaN is left out.
    """

    def __init__(self, limit: int = _POINTS):
        self.limit, self.width = limit, 1
        self._bins: list = []  # [points, sum of x, sum of y, low, high]

    def add(self, x: float, y: float) -> None:
        if y is None or not math.isfinite(y):
            return
        if self._bins and self._bins[-1][0] < self.width:
            self._bins[-1] = _joined(self._bins[-1], (1, x, y, y, y))
            return
        if len(self._bins) == self.limit:
            halves = self._bins[::2], self._bins[1::2] + [None]
            self._bins = [_joined(a, b) if b else a for a, b in zip(*halves)]
            self.width *= 2
        self._bins.append((1, x, y, y, y))

    def bins(self) -> list:
        return [(xs / points, ys / points, low, high) for points, xs, ys, low, high in self._bins]


def _joined(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], min(a[3], b[3]), max(a[4], b[4])


class Curves:
    """The curves of a run: `add_step(record)` and `add_evaluation(record)` take what is written to the run's files,
    `write()` makes curves.html of all so far. What the folder holds when it is opened is read once.
    """

    def __init__(self, folder, title: str = "run"):
        self.folder, self.title = Path(folder), title
        self._steps = {name: Series() for name in (*_BY_STEP, _WAITING)}
        self._evaluations: dict = {}  # kind of weights -> epoch -> record
        for record in read_metrics(self.folder / "metrics.jsonl"):
            self.add_step(record)
        for record in read_metrics(self.folder / "evaluations.jsonl"):
            self.add_evaluation(record)

    def add_step(self, record: dict) -> None:
        """Takes a step's record (see loop/metrics.py)."""
        for name in _BY_STEP:
            self._steps[name].add(record["step"], record[name])
        whole = max(record["wait_ms"] + record["step_ms"], 1e-9)
        self._steps[_WAITING].add(record["step"], 100 * record["wait_ms"] / whole)

    def add_evaluation(self, record: dict) -> None:
        """Takes an evaluation: epoch, weights ("trained" or "averaged") and the result's numbers."""
        # A resumed run evaluates an epoch again that it had evaluated before it died: the last one counts.
        self._evaluations.setdefault(record["weights"], {})[record["epoch"]] = record

    def write(self) -> Path:
        """Writes curves.html and returns its path. Lines are means of bins, the band shows their extremes."""
        plots = [_plot(f"{name} by step", series.bins()) for name, series in self._steps.items()]
        for kind, records in sorted(self._evaluations.items()):
            for name, scores in _scores(records).items():
                plots.append(_plot(f"{name} of the {kind} weights by epoch", scores.bins()))
        page = (
            f'<!doctype html><meta charset="utf-8"><title>{html.escape(self.title)}</title><style>{_STYLE}</style>'
            f"<h1>{html.escape(self.title)}</h1>{''.join(plots)}\n"
        )
        (self.folder / "curves.html").write_text(page, encoding="utf-8")
        return self.folder / "curves.html"


def write_curves(folder, title: str = "run") -> Path:
    """Writes curves.html from metrics.jsonl and evaluations.jsonl of a run folder; returns its path."""
    return Curves(folder, title).write()


def append_evaluation(folder, record: dict) -> None:
    """Adds a line to evaluations.jsonl: epoch, weights ("trained" or "averaged") and the numbers of a result."""
    with open(Path(folder) / "evaluations.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def _scores(records):
    """Series by name of evaluations, a dict by epoch: counts as a share of the total, other numbers as they are."""
    scores: dict = {}
    for epoch, record in records.items():
        for name, value in record.items():
            if name in ("epoch", "weights", "total") or not isinstance(value, (int, float)):
                continue
            if name.endswith("_correct"):
                name, value = f"{name.removesuffix('_correct')} %", 100 * value / record["total"]
            elif name == "loss":
                name = "evaluation loss"
            scores.setdefault(name, Series()).add(epoch, value)
    return scores


def _plot(title, bins):
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
        f'<line x1="50" x2="{_WIDTH - 10}" y1="{y}" y2="{y}"/>'
        f'<text x="44" y="{y + 4}" text-anchor="end">{value:.4g}</text>'
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
