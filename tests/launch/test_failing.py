"""What a job does when a rank fails, is killed, or hangs: it ends, says so, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import ENVIRONMENT, MPIRUN, ROOT, command

LIMIT_S = 10


def start(run, *flags, ranks=2, module="launch.train", **environment):
    line = [MPIRUN, "-n", str(ranks), sys.executable, "-m", module, "--run_dir", run, *map(str, flags)]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), "RUN_MARK": str(run), **environment}
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
        if words[0] == sys.executable.encode() and b"launch.train" in words:
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
    """The exit code and the output of a job that has to end within `limit` seconds and leave no process and no memory."""
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


@pytest.fixture
def shm():
    before = set(os.listdir("/dev/shm"))
    yield
    assert set(os.listdir("/dev/shm")) <= before


FLAGS = ("--net", "tinydarknet", "--eval_interval", 0, "--batch_size", 16, "--epochs", 50)


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_killed_rank_ends_the_job(tmp_path, shm, ranks):
    run = tmp_path / "run"
    process = start(run, *FLAGS, ranks=ranks)
    wait_for_steps(run, process)
    os.kill(ranks_of(run)[-1], signal.SIGKILL)
    code, _, _ = ends(process, run)
    assert code != 0


def test_a_stopped_rank_counts_as_hung(tmp_path, shm):
    run = tmp_path / "run"
    process = start(run, *FLAGS, "--timeout", 6)
    wait_for_steps(run, process)
    stopped = ranks_of(run)[-1]
    os.kill(stopped, signal.SIGSTOP)
    code, _, errors = ends(process, run, 6 + LIMIT_S)
    assert code != 0
    assert "no step for 6 s (--timeout)" in errors and "log of this rank: " in errors


@pytest.mark.parametrize("ranks", [2, 3])
def test_an_exception_on_one_rank_ends_the_job_and_is_told_once(tmp_path, shm, ranks):
    run = tmp_path / "run"
    process = start(run, *FLAGS, ranks=ranks, module="failing_rank", PYTHONPATH=f"{ROOT}:{Path(__file__).parent}")
    code, _, errors = ends(process, run, 240)
    assert code != 0
    assert errors.count("Traceback") == 1
    assert "RuntimeError: rank 1 has had enough" in errors
    assert f"log of this rank: {run}/logs/rank_1.log" in errors
    assert "has had enough" in (run / "logs" / "rank_1.log").read_text()


def test_ctrl_c_ends_all_of_it(tmp_path, shm):
    run = tmp_path / "run"
    process = start(run, *FLAGS)
    wait_for_steps(run, process)
    process.send_signal(signal.SIGINT)
    code, _, _ = ends(process, run)
    assert code != 0


@pytest.mark.parametrize("wanted", [signal.SIGTERM, signal.SIGUSR1])
def test_a_warning_signal_writes_a_checkpoint_from_which_the_run_goes_on(tmp_path, shm, wanted):
    run = tmp_path / "run"
    process = start(run, *FLAGS)
    wait_for_steps(run, process)
    for pid in ranks_of(run):
        os.kill(pid, wanted)
    code, output, errors = ends(process, run, 60)
    assert code == 85, errors
    assert "--resume" in output
    steps = len((run / "metrics.jsonl").read_text().splitlines())
    (saved,) = (run / "checkpoints").iterdir()
    assert int(saved.name.rsplit("b", 1)[1]) == steps
    resumed = command("launch.train", "--resume", run, "--max_steps", steps + 2, ranks=2)
    assert resumed.returncode == 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == steps + 2
