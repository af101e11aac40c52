"""Every step as a line of metrics.jsonl and metrics.csv."""

import json
from pathlib import Path

FIELDS = ("step", "epoch", "loss", "lr", "loss_scale", "step_ms", "wait_ms", "images_per_s")


class Metrics:
    """Appends one record per step to metrics.jsonl and metrics.csv in a folder.

    Records of `first_step` and later, left by a run that died after its last checkpoint, are cut off on opening.
    """

    def __init__(self, folder, first_step: int = 0):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._jsonl = _open_before(folder / "metrics.jsonl", _step_of_json, first_step)
        self._csv = _open_before(folder / "metrics.csv", _step_of_row, first_step)
        if self._csv.tell() == 0:
            self._csv.write(",".join(FIELDS) + "\n")

    def write(self, record: dict) -> None:
        """Writes a record, a dict with the keys FIELDS."""
        # A loss of NaN is written as NaN: Python's json reads it back.
        self._jsonl.write(json.dumps(record) + "\n")
        self._csv.write(",".join(str(record[name]) for name in FIELDS) + "\n")

    def flush(self) -> None:
        """Hands all lines to the operating system."""
        self._jsonl.flush()
        self._csv.flush()

    def close(self) -> None:
        """Closes both files."""
        self._jsonl.close()
        self._csv.close()


def read_metrics(path):
    """Yields the records of a metrics.jsonl, dicts; ends before a last line that was cut off by a kill."""
    path = Path(path)
    if not path.exists():
        return
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return


def _open_before(path, step_of, first_step):
    """Opens a file to append lines, cut before the first line that is broken or whose step is `first_step` or later."""
    file = open(path, "a+", encoding="utf-8", buffering=1)  # a line reaches the file at once: people watch it
    end = 0
    with open(path, "rb") as lines:
        for line in lines:
            try:
                step = step_of(line.decode("utf-8"))
            except (ValueError, KeyError):
                break
            if not line.endswith(b"\n") or step >= first_step:
                break
            end += len(line)
    file.truncate(end)
    file.seek(0, 2)
    return file


def _step_of_json(line):
    return json.loads(line)["step"]


def _step_of_row(line):
    return -1 if line.startswith("step,") else int(line.split(",", 1)[0])
