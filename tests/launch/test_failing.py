"""What a job does when a rank fails, is killed, or hangs: it ends, says so, and leaves nothing behind."""

import os
import signal
import time
from pathlib import Path

import pytest
from job_process import LIMIT_S, ends, processes_of, ranks_of, start, wait_for_steps
from runs import ROOT, TINY
from shared_memory import unused_shared_memory

pytestmark = pytest.mark.alone


@pytest.fixture
def shm():
    """Nothing stays in /dev/shm that no process uses: other jobs may run on this machine."""
    before = unused_shared_memory()
    yield
    end = time.monotonic() + 5
    while not unused_shared_memory() <= before and time.monotonic() < end:
        time.sleep(0.1)
    assert unused_shared_memory() <= before


FLAGS = (*TINY, "--epochs", 50)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_job(tmp_path, shm, ranks):
    run = tmp_path / "run"
    process = start(run, *FLAGS, ranks=ranks)
    wait_for_steps(run, process)
    os.kill(ranks_of(run)[-1], signal.SIGKILL)
    code, _, _ = ends(process, run)
    assert code != 0


def test_a_stopped_rank_counts_as_hung(tmp_path, shm):
    run = tmp_path / "run"
    process = start(run, *FLAGS, "--timeout", 4)
    wait_for_steps(run, process)
    stopped = ranks_of(run)[-1]
    os.kill(stopped, signal.SIGSTOP)
    code, _, errors = ends(process, run, 4 + LIMIT_S)
    assert code != 0
    assert "no step for 4 s (--timeout)" in errors and "log of this rank: " in errors


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
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


@pytest.mark.parametrize("wanted", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)])
def test_a_warning_signal_writes_a_checkpoint(tmp_path, shm, wanted):
    run = tmp_path / "run"
    process = start(run, *FLAGS, "--backend", "mccl" if wanted == signal.SIGUSR1 else "mpi")
    wait_for_steps(run, process)
    # mpirun hands a signal to its ranks; Slurm hands it to every process that they have started too.
    everyone = set(processes_of(run)) - {process.pid}
    for pid in everyone if wanted == signal.SIGUSR1 else ranks_of(run):
        os.kill(pid, wanted)
    code, output, errors = ends(process, run, 60)
    assert code == 85, errors
    assert "--resume" in output
    steps = len((run / "metrics.jsonl").read_text().splitlines())
    (saved,) = (run / "checkpoints").iterdir()
    assert int(saved.name.rsplit("b", 1)[1]) == steps
