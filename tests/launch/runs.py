"""Starts the real commands for the tests, alone or under mpirun, with caches of the test session's own."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MPIRUN = Path(sys.executable).with_name("mpirun")
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def command(module, *flags, ranks=None, timeout=600, check=True, cwd=ROOT, mpirun=MPIRUN, **environment):
    """Returns the finished process of `[mpirun -n RANKS] python -m MODULE FLAGS`."""
    line = [sys.executable, "-m", module, *map(str, flags)]
    if ranks:
        line = [str(mpirun), "-n", str(ranks), *line]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), **environment}
    done = subprocess.run(line, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode:
        raise AssertionError(
            f"{' '.join(line)}\nexit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        )
    return done


def complaints(done):
    """The lines that a process wrote to stderr, but for the word on a start that takes long."""
    return [line for line in done.stderr.splitlines() if not line.startswith("dataloader: compil")]


def metrics(folder):
    """Returns the records of a run's metrics.jsonl."""
    return [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
