"""Every step as a line of metrics.jsonl and metrics.csv."""

import json
from pathlib import Path

FIELDS = ("step", "epoch", "loss", "lr", "loss_scale", "step_ms", "wait_ms", "images_per_s")


class Metrics:
    """Appends one record per step to metrics.jsonl and metrics.csv in a folder.

    Records of `first_step` and later, left by a run that died after its last checkpoint, are dropped on opening.
    """

    def __init__(self, folder, first_step=0):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        lines = _lines_before(folder / "metrics.jsonl", first_step)
        self._jsonl = _rewrite(folder / "metrics.jsonl", [json.dumps(record) for record in lines])
        rows = [",".join(FIELDS)] + [_row(record) for record in lines]
        self._csv = _rewrite(folder / "metrics.csv", rows)

    def write(self, record):
        """Writes a record, a dict with the keys FIELDS."""
        # A loss of NaN is written as NaN: Python's json reads it back.
        self._jsonl.write(json.dumps(record) + "\n")
        self._csv.write(_row(record) + "\n")

    def flush(self):
        self._jsonl.flush()
        self._csv.flush()

    def close(self):
        self._jsonl.close()
        self._csv.close()


def _row(record):
    return ",".join(str(record[name]) for name in FIELDS)


def read_metrics(path):
    """Returns the records of a metrics.jsonl, a list of dicts; a last line cut off by a kill is left out."""
    records = []
    path = Path(path)
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return records


def _lines_before(path, first_step):
    return [record for record in read_metrics(path) if record["step"] < first_step]


def _rewrite(path, lines):
    file = open(path, "w", encoding="utf-8", buffering=1)  # a line reaches the file at once: people watch it
    file.writelines(line + "\n" for line in lines)
    return file
