"""Starts the real commands for the tests, alone, under mpirun, or many in one process."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MPIRUN = Path(sys.executable).with_name("mpirun")

# A training that is soon under way; jobs of it that differ in nothing else find each other's compiled graphs.
TINY = ("--net", "tinydarknet", "--batch_size", 8, "--image_size", 32, "--eval_interval", 0)


def command(module, *flags, ranks=None, timeout=600, check=True, cwd=ROOT, mpirun=MPIRUN, **environment):
    """Returns the finished process of `[mpirun -n RANKS] python -m MODULE FLAGS`."""
    line = [sys.executable, "-m", module, *map(str, flags)]
    if ranks:
        line = [str(mpirun), "-n", str(ranks), *line]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(line)}\nexit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        )
    return done


def session(lines, places, cwd, python_path=ROOT):
    """Types command lines ("train --net genet") in one process, one after another; returns {name: (exit code, stdout,
    stderr)} of {name: line}. places: {word: path} for the words in capitals.
    """
    typed = []
    for line in lines.values():
        words = [re.sub("^[A-Z_]+", lambda found: str(places.get(found[0], found[0])), word) for word in line.split()]
        typed.append([f"launch.{words[0]}", *words[1:]])
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("session.py")],
        input=json.dumps(typed), capture_output=True, text=True, cwd=cwd, timeout=900,
        env={**os.environ, "PYTHONPATH": str(python_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, map(tuple, json.loads(done.stdout))))


def complaints(done):
    """The lines that a process wrote to stderr, but for the word on a start that takes long."""
    return [line for line in done.stderr.splitlines() if not line.startswith("dataloader: compil")]


def metrics(folder):
    """Returns the records of a run's metrics.jsonl."""
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
