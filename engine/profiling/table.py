"""From executions to tables: by kernel, by type, by layer, by phase; steps side by side."""

import statistics
from collections import defaultdict

from cellwright.engine.profiling.record import PHASES

_KEYS = {
    "kernels": ("kind", "layer", "phase", "direction", "source"),
    "types": ("kind",),
    "layers": ("layer", "direction"),
}


def spread(values):
    """Returns the distance between the quartiles (0 for fewer than two values)."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return high - low


def tables(steps, peaks=None):
    """Returns {"steps", "phases", "kernels", "types", "layers"} of one rank's Steps, ready for JSON.

    Times are ms, `ms` is the median over the steps and `spread_ms` the distance between the quartiles. `share` is the
    part of all kernels' time, of phases that of the step. A kernel's time is its share of the wall clock. `of_peak`:
    GFLOP/s as a part of what the roof allows at this kernel's FLOPs per byte (peaks: {"gflops", "gbytes"}).
    """
    found = {
        "steps": [_step(number, step) for number, step in enumerate(steps)],
        "phases": _phases(steps),
        **{name: _rows(steps, keys, peaks or {}) for name, keys in _KEYS.items()},
    }
    return found


def _step(number, step):
    phases = {name: value / 1e6 for name, value in step.phases().items()}
    return {
        "step": number, "ms": step.nanoseconds / 1e6, "images": step.images, "loss": step.loss,
        "compile_s": step.compiled, "phases": phases,
    }  # fmt: skip


def _phases(steps):
    each = [step.phases() for step in steps]
    total = statistics.median(step.nanoseconds for step in steps) if steps else 1
    rows = []
    for name in PHASES:
        values = [phases[name] / 1e6 for phases in each]
        if any(values):
            median = statistics.median(values)
            row = {"phase": name, "ms": median, "spread_ms": spread(values), "share": 1e6 * median / total}
            rows.append({**row, "steps_ms": values})
    return rows


def _rows(steps, keys, peaks):
    sums = defaultdict(lambda: [[0.0, 0, 0.0, 0.0] for _ in steps])
    for number, step in enumerate(steps):
        for execution in step.executions:
            cell = sums[tuple(getattr(execution, key) for key in keys)][number]
            cell[0] += execution.nanoseconds
            cell[1] += 1
            cell[2] += execution.flops
            cell[3] += execution.bytes
    rows = []
    for key, cells in sums.items():
        times = [cell[0] / 1e6 for cell in cells]
        count, flops, moved = (statistics.median(cell[k] for cell in cells) for k in (1, 2, 3))
        milliseconds = statistics.median(times)
        row = dict(zip(keys, key)) | {
            "ms": milliseconds,
            "spread_ms": spread(times),
            "count": count,
            "flops": flops,
            "bytes": moved,
            "steps_ms": times,
        }
        row["gflops"] = flops / milliseconds / 1e6 if milliseconds else 0.0
        row["gbytes"] = moved / milliseconds / 1e6 if milliseconds else 0.0
        row["of_peak"] = of_peak(flops, moved, milliseconds, _roofs_of(row.get("kind", ""), peaks))
        rows.append(row)
    total = sum(row["ms"] for row in rows) or 1.0
    for row in rows:
        row["share"] = row["ms"] / total
    return sorted(rows, key=lambda row: -row["ms"])


def _roofs_of(kind, peaks):
    """Returns the peaks for a kind of kernel: convolutions that multiply bfloat16 have a roof of their own."""
    convolves = kind.removeprefix("paired_").startswith(("conv", "weight_gradient"))
    if convolves and "bfloat16_gflops" in peaks and kind.endswith(" bfloat16"):
        return {**peaks, "gflops": peaks["bfloat16_gflops"]}
    return peaks


def of_peak(flops, moved, milliseconds, peaks):
    """Returns the part of what the roofline allows that a kernel attains; None where FLOPs or peaks are unknown.

    Above 1: its operands came from the caches, which the roof of main memory does not know.
    """
    if not flops or not milliseconds or not peaks:
        return None
    roof = min(peaks["gflops"], peaks["gbytes"] * flops / moved) if moved else peaks["gflops"]
    return flops / milliseconds / 1e6 / roof


def text(profile, rows=15):
    """Returns the tables of a profile as lines for the console."""
    lines = ["phase          ms/step  share   spread"]
    for row in profile["phases"]:
        lines.append(f"{row['phase']:<12} {row['ms']:>9.3f} {100 * row['share']:>5.1f}% {row['spread_ms']:>8.3f}")
    lines += [
        "",
        f"{'kernel':<30} {'layer':<30} {'direction':<16} {'ms/step':>9} {'share':>6} "
        f"{'GFLOP/s':>8} {'GB/s':>7} {'roof':>5}",
    ]
    for row in profile["kernels"][:rows]:
        part = "" if row["of_peak"] is None else f"{100 * row['of_peak']:.0f}%"
        lines.append(
            f"{row['kind'][:30]:<30} {row['layer'][-30:]:<30} {row['direction']:<16} {row['ms']:>9.3f} "
            f"{100 * row['share']:>5.1f}% {row['gflops']:>8.1f} {row['gbytes']:>7.1f} {part:>5}"
        )
    return "\n".join(lines)
