"""The essentials once more under MPICH, whose handles are numbers where Open MPI's are pointers.

`make test` installs it into a folder of its own, because both bring an mpirun; MPICH_MPIEXEC may name another one.
"""

import os
import signal
import sys
from pathlib import Path

import pytest
from job_process import ends, ranks_of, start, wait_for_steps
from runs import MPIRUN, ROOT, TINY, command, metrics

MPIEXEC = Path(os.environ.get("MPICH_MPIEXEC") or Path(sys.prefix) / "mpich" / "bin" / "mpiexec")
TESTS = f"{ROOT}:{Path(__file__).parent}"

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not MPIEXEC.exists(), reason=f"no MPICH at {MPIEXEC}: make test installs it"),
]


@pytest.fixture(autouse=True)
def shm():
    """Nothing of MPICH is left in /dev/shm; Open MPI's jobs of others may be there."""
    before = {name for name in os.listdir("/dev/shm") if name.startswith("mpich")}
    yield
    assert {name for name in os.listdir("/dev/shm") if name.startswith("mpich")} <= before


def test_three_ranks_find_each_other_and_the_right_library():
    done = command("launch.doctor", ranks=3, mpirun=MPIEXEC)
    assert "MPICH" in done.stdout and "3 ranks on 1 host" in done.stdout
    assert "allreduce over 3 ranks is right" in done.stdout


def test_both_nodes_of_the_graph_sum():
    done = command("allreduce_ranks", ranks=2, mpirun=MPIEXEC, PYTHONPATH=TESTS)
    assert done.stdout.splitlines() == ["shared False: True [False, False]", "shared True: True [True, True]"]


@pytest.mark.slow
def test_it_trains_to_the_same_bits_as_open_mpi(tmp_path):
    for name, mpirun in (("mpich", MPIEXEC), ("openmpi", MPIRUN)):
        flags = (*TINY, "--max_steps", 3, "--run_dir", tmp_path / name)
        command("launch.train", *flags, ranks=2, mpirun=mpirun)
    ours, theirs = (next((tmp_path / name / "checkpoints").iterdir()) / "weights.ckpt" for name in ("mpich", "openmpi"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert len(metrics(tmp_path / "mpich")) == 3


def test_a_killed_rank_ends_the_job(tmp_path):
    run = tmp_path / "run"
    process = start(run, *TINY, "--epochs", 50, mpirun=MPIEXEC)
    wait_for_steps(run, process)
    os.kill(ranks_of(run)[-1], signal.SIGKILL)
    code, _, _ = ends(process, run)
    assert code != 0


@pytest.mark.slow
def test_an_exception_is_told_once_with_its_log(tmp_path):
    run = tmp_path / "run"
    process = start(run, *TINY, "--epochs", 50, mpirun=MPIEXEC, module="failing_rank", PYTHONPATH=TESTS)
    code, _, errors = ends(process, run, 240)
    assert code != 0 and errors.count("Traceback") == 1
    assert f"log of this rank: {run}/logs/rank_1.log" in errors


def test_a_launcher_of_another_make_is_an_error_and_not_two_runs_of_one_rank(tmp_path):
    library = MPIRUN.parents[1] / "lib" / "libmpi.so.40"
    flags = (*TINY, "--max_steps", 1, "--run_dir", tmp_path / "run")
    done = command("launch.train", *flags, ranks=2, mpirun=MPIEXEC, check=False, MPI4PY_LIBMPI=str(library))
    assert done.returncode != 0
    assert "the launcher started 2 processes, but Open MPI sees one" in done.stderr
    assert not (tmp_path / "run").exists()
