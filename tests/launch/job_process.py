"""A training job as a process of the tests: started, watched, and seen to its end."""

import os
import subprocess
import sys
import time
from pathlib import Path

from runs import MPIRUN, ROOT

LIMIT_S = 10


def start(run, *flags, ranks=2, module="launch.train", mpirun=MPIRUN, **environment):
    line = [mpirun, "-n", str(ranks), sys.executable, "-m", module, "--run_dir", run, *map(str, flags)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN_MARK": str(run), **environment}
    return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes_of(run):
    """The processes, worker processes among them, that were started for this run: they inherit its mark."""
    mark = f"RUN_MARK={run}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0") and (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ranks_of(run):
    found = []
    for pid in processes_of(run):
        words = (Path("/proc") / str(pid) / "cmdline").read_bytes().split(b"\0")
        if words[0] == sys.executable.encode() and words[2].endswith(b"launch.train"):
            found.append(pid)
    return sorted(found)


def wait_for_steps(run, process, steps=3, limit=240):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        file = run / "metrics.jsonl"
        if file.exists() and len(file.read_text().splitlines()) >= steps:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
    raise AssertionError("no steps")


def ends(process, run, limit=LIMIT_S):
    """The exit code and the output of a job that has to end within `limit` seconds and leave no process, no memory."""
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    end = time.monotonic() + 5
    while processes_of(run) and time.monotonic() < end:
        time.sleep(0.1)
    assert processes_of(run) == []
    return process.returncode, output, errors
