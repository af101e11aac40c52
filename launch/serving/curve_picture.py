"""Curves of runs as one SVG for people: smoothed lines over the raw ones, axes with ticks and units, a legend."""

import html
import json
import math
from dataclasses import dataclass
from pathlib import Path

WIDTH, PANEL, LEFT, RIGHT, HEAD = 860, 250, 84, 24, 34
_COLOURS = ("#2f6fde", "#d9552b", "#2b9a66", "#8a4fd0", "#b5851b", "#0f94a8", "#c43d7a", "#6b7280")
_POINTS = 800  # of a line: more than a screen shows
_STYLE = (
    "text{font:12px Inter,'Segoe UI','Helvetica Neue',Roboto,'DejaVu Sans',sans-serif;fill:#1b2130}"
    ".title{font-size:15px;font-weight:650}.quiet{fill:#667085;font-size:11px}.grid{stroke:#e4e7ec}.axis{stroke:#98a2b3}"
    "polyline{fill:none;stroke-linejoin:round}.raw{stroke-width:1;opacity:.25}.smooth{stroke-width:1.8}.ground{fill:#fff}"
    "@media(prefers-color-scheme:dark){.ground{fill:#12161f}text{fill:#e6e9ef}.quiet{fill:#93a0b5}.grid{stroke:#2a3140}}"
)


@dataclass(frozen=True)
class Panel:
    """One pair of axes. read(steps, evaluations) gives the points (x, y) of a run; smooth: draw a smoothed line too."""

    title: str
    across: str
    up: str
    read: object
    smooth: bool = True


def _of_steps(name):
    return lambda steps, _: [(r["step"] + 1, r[name]) for r in steps if name in r]


def _accuracy(_, evaluations):
    # A resumed run evaluates an epoch again that it had evaluated before it died: the last one counts.
    last = {r["epoch"]: r for r in evaluations if r["weights"] == "trained"}
    return [(epoch, 100 * r["top1_correct"] / r["total"]) for epoch, r in sorted(last.items())]


PANELS = (
    Panel("Loss of the training batches", "step", "loss (nats)", _of_steps("loss")),
    Panel("Accuracy on the held-back images", "epoch", "top-1 (%)", _accuracy, smooth=False),
    Panel("Learning rate", "step", "learning rate", _of_steps("lr"), smooth=False),
    Panel("Speed", "step", "images/s", _of_steps("images_per_s")),
)


def read_run(folder):
    """Returns (records of the steps, records of the evaluations) of a run folder; ValueError where it has none."""
    steps, evaluations = (_records(Path(folder) / name) for name in ("metrics.jsonl", "evaluations.jsonl"))
    if not steps:
        raise ValueError(f"{folder}: no run folder, it holds no metrics.jsonl with steps")
    return steps, evaluations


def _records(path):
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue  # a run that goes on is writing it
    return found


def smoothed(values, window):
    """Returns the running mean of each value and those before it, weights falling by 1/e in `window` values."""
    keep, total, weight, out = math.exp(-1 / max(window, 1e-9)), 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + value, keep * weight + 1
        out.append(total / weight)
    return out


def ticks(low, high, most=6):
    """Returns round numbers from low to high, at steps of 1, 2 or 5 times a power of ten; at most `most` of them."""
    raw = (high - low) / most or abs(high) or 1.0
    base = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * base for factor in (1, 2, 5, 10) if factor * base >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def draw(runs, window=None):
    """Returns the SVG of runs, {name: (steps, evaluations)}, as text.

    window: steps over which lines are smoothed; None: a fiftieth of the longest run.
    """
    longest = max(len(steps) for steps, _ in runs.values())
    window = window or max(1.0, longest / 50)
    top = HEAD + 18 * len(runs)
    parts = [_legend(runs, window)]
    for panel in PANELS:
        lines = [
            [(x, y) for x, y in panel.read(steps, evaluations) if math.isfinite(y)]
            for steps, evaluations in runs.values()
        ]
        if any(lines):
            parts.append(_panel(panel, lines, top, window))
            top += PANEL
    box = f'viewBox="0 0 {WIDTH} {top + 8}" width="{WIDTH}"'
    ground = f'<rect class="ground" width="{WIDTH}" height="{top + 8}"/>'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img"><style>{_STYLE}</style>{ground}'
    return f"{head}{''.join(parts)}</svg>\n"


def _legend(runs, window):
    lines = []
    for place, (name, (steps, _)) in enumerate(runs.items()):
        y = 24 + 18 * place
        lines.append(f'<rect x="{LEFT}" y="{y - 9}" width="18" height="4" fill="{_colour(place)}"/>')
        lines.append(f'<text x="{LEFT + 26}" y="{y}">{html.escape(name)}, {len(steps):,} steps</text>')
    note = f"strong: mean of about {window:.0f} steps; pale: each step"
    lines.append(f'<text class="quiet" x="{WIDTH - RIGHT}" y="24" text-anchor="end">{note}</text>')
    return "".join(lines)


def _panel(panel, lines, top, window):
    points = [point for line in lines for point in line]
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    low, high = _range([y for _, y in points])
    height, base = PANEL - 92, top + PANEL - 50

    def across(x):
        return LEFT + (x - left) / ((right - left) or 1) * (WIDTH - LEFT - RIGHT)

    def up(y):
        return base - (min(max(y, low), high) - low) / (high - low) * height

    out = [f'<text class="title" x="{LEFT}" y="{top + 24}">{html.escape(panel.title)}</text>']
    for value in ticks(low, high):
        y = up(value)
        out.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        out.append(f'<text class="quiet" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.6g}</text>')
    for value in ticks(left, right, 8):
        if panel.across != "epoch" or value == round(value):
            out.append(
                f'<text class="quiet" x="{across(value):.1f}" y="{base + 16}" text-anchor="middle">{value:,.6g}</text>'
            )
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}"/>')
    out.append(f'<text x="{middle:.0f}" y="{base + 34}" text-anchor="middle">{html.escape(panel.across)}</text>')
    turn = f'transform="rotate(-90 16 {base - height / 2:.0f})"'
    out.append(f'<text x="16" y="{base - height / 2:.0f}" text-anchor="middle" {turn}>{html.escape(panel.up)}</text>')
    for place, line in enumerate(lines):
        for kind, part in _strokes(line, panel.smooth, window):
            path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in part)
            out.append(f'<polyline class="{kind}" stroke="{_colour(place)}" points="{path}"/>')
        if len(line) == 1:
            (x, y), colour = line[0], _colour(place)
            out.append(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3.5" fill="{colour}"/>')
    return "".join(out)


def _range(values):
    """(lowest, highest) of what is shown: a few outliers do not press the rest flat."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    inner_low, inner_high = ordered[len(ordered) // 100], ordered[-1 - len(ordered) // 100]
    spread = inner_high - inner_low
    low, high = max(low, inner_low - spread / 2), min(high, inner_high + spread / 2)
    if high - low <= 1e-12 * max(abs(high), 1e-300):
        margin = abs(high) / 2 or 1.0
        return low - margin, high + margin
    return low - (high - low) / 25, high + (high - low) / 25


def _strokes(line, smooth, window):
    if not smooth:
        return [("smooth", line)]
    means = smoothed([y for _, y in line], window)
    return [("raw", _thinned(line)), ("smooth", _thinned([(x, mean) for (x, _), mean in zip(line, means)]))]


def _thinned(line):
    """At most some 2 x _POINTS of a line's points: the lowest and the highest of each stretch."""
    size = math.ceil(len(line) / _POINTS)
    if size <= 2:
        return line
    out = []
    for start in range(0, len(line), size):
        part = line[start : start + size]
        out += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return out


def _colour(place):
    return _COLOURS[place % len(_COLOURS)]
