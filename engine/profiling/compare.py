"""Two profiles side by side: which kernels became slower or faster."""

_KEY = ("kind", "layer", "phase", "direction", "source")


def compare(before, after, least_ms=0.01):
    """Returns rows {kind, layer, ..., before_ms, after_ms, change_ms, ratio, certain}, the largest change first.

    before, after: profiles as read from JSON. certain: the change is larger than the spreads of both together. ratio:
    after / before, None for a kernel that only one of them has. Changes below `least_ms` are left out.
    """
    sides = [{tuple(row[key] for key in _KEY): row for row in profile["kernels"]} for profile in (before, after)]
    rows = []
    for key in sides[0].keys() | sides[1].keys():
        old, new = (side.get(key) for side in sides)
        a, b = (row["ms"] if row else 0.0 for row in (old, new))
        noise = sum(row["spread_ms"] for row in (old, new) if row)
        if abs(b - a) >= least_ms:
            row = dict(zip(_KEY, key)) | {"before_ms": a, "after_ms": b, "change_ms": b - a}
            rows.append({**row, "ratio": b / a if a and b else None, "certain": abs(b - a) > noise})
    return sorted(rows, key=lambda row: (-abs(row["change_ms"]), row["kind"], row["layer"]))


def compare_text(before, after, rows=25):
    """Returns the comparison as lines for the console."""
    found = compare(before, after)
    steps = [profile["step_ms"]["median"] for profile in (before, after)]
    lines = [f"step: {steps[0]:.2f} -> {steps[1]:.2f} ms ({steps[1] / steps[0]:.2f} x)"]
    for name, wanted in (("slower", 1), ("faster", -1)):
        part = [row for row in found if row["certain"] and row["change_ms"] * wanted > 0]
        lines.append(f"{len(part)} kernels became {name}, {sum(row['change_ms'] for row in part):+.2f} ms a step")
        for row in part[:rows]:
            ratio = f"{row['ratio']:.2f} x" if row["ratio"] else ("new" if not row["before_ms"] else "gone")
            label = " ".join(filter(None, (row["kind"], row["layer"], row["direction"] or row["phase"])))
            lines.append(f"  {row['before_ms']:>9.3f} -> {row['after_ms']:>9.3f} ms  {ratio:>7}  {label}")
    unsure = sum(not row["certain"] for row in found)
    lines.append(f"{unsure} further changes are within the spread of the steps")
    return "\n".join(lines)
