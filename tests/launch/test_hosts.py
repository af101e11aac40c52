"""Two hosts: network namespaces with names and addresses of their own, and an agent in the place of ssh."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from job_process import ends, processes_of, ranks_of, wait_for_steps
from runs import MPIRUN, ROOT, TINY, metrics

from cellwright.launch.host.namespaces import namespaces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[1, 2], ids=["one rank a host", "two ranks a host"])
def hosts(request, tmp_path_factory):
    """Two hosts that see each other, of one rank and of two."""
    try:
        with namespaces(tmp_path_factory.mktemp("hosts"), slots=request.param) as made:
            made.ranks = 2 * request.param
            yield made
    except PermissionError as error:
        pytest.skip(str(error))


def start(hosts, run, *flags, module="launch.train"):
    program = (sys.executable, "-m", module, "--run_dir", run, *TINY, *flags)
    return start_program(hosts, run, *program)


def start_program(hosts, mark, *program):
    line = [*hosts.mpirun(MPIRUN, hosts.ranks), *map(str, program)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN_MARK": str(mark)}
    environment.pop("PRTE_MCA_rmaps_default_mapping_policy")
    environment["OMPI_MCA_mpi_yield_when_idle"] = "1"  # they share the cores of one host
    return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_sums_have_the_bits_of_their_stated_order(hosts, tmp_path):
    program = ROOT / "tests" / "kernels" / "nodes" / "share_rank.py"
    process = start_program(hosts, tmp_path, sys.executable, program, 1, "as they are")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert output.count("right") == hosts.ranks


@pytest.mark.parametrize("backend", ["mpi", "mccl"])
def test_ranks_on_two_hosts_train_together(hosts, tmp_path, backend):
    run = tmp_path / "run"
    process = start(hosts, run, "--backend", backend, "--max_steps", 3)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"{hosts.ranks} ranks on CPU ({backend})" in output
    assert len(metrics(run)) == 3


def test_gradients_that_leave_early_make_the_same_steps(hosts, tmp_path):
    losses = []
    for overlap in (False, True, "auto"):
        run = tmp_path / str(overlap)
        process = start(hosts, run, "--max_steps", 20, "--overlap", overlap, "--bucket_mb", 0.5)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        assert ("overlap o" in output) == (overlap == "auto")
        losses.append([row["loss"] for row in metrics(run)])
    assert losses[0] == losses[1] == losses[2] and len(losses[0]) == 20


def test_dry_run_names_the_hosts(hosts, tmp_path):
    output, _ = start(hosts, tmp_path / "run", "--dry_run").communicate(timeout=300)
    assert f"world: {hosts.ranks} ranks on {', '.join(hosts.names.values())}, back end mpi" in output


@pytest.mark.parametrize("victim", [0, 1])
def test_a_rank_killed_on_one_host_ends_the_job_on_both(hosts, tmp_path, victim):
    run = tmp_path / "run"
    process = start(hosts, run, "--epochs", 50, "--backend", "mccl")
    wait_for_steps(run, process)
    names = {pid: Path(f"/proc/{pid}/ns/net").stat().st_ino for pid in ranks_of(run)}
    assert len(set(names.values())) == 2
    os.kill(list(names)[victim], signal.SIGKILL)
    code, _, _ = ends(process, run)
    assert code != 0
    time.sleep(0.5)
    assert processes_of(run) == []


def test_a_host_that_is_cut_off_ends_the_job_by_name(hosts, tmp_path):
    run = tmp_path / "run"
    process = start(hosts, run, "--epochs", 50, "--timeout", 12)
    wait_for_steps(run, process)
    gone = list(hosts.names.values())[1]
    subprocess.run(["ip", "-n", gone, "link", "set", f"v{gone}", "down"], check=True)
    try:
        code, _, errors = ends(process, run, 12 + 30)
    finally:
        subprocess.run(["ip", "-n", gone, "link", "set", f"v{gone}", "up"], check=True)
    assert code != 0
    assert "no step for 12 s (--timeout)" in errors and f"host {gone} (10.77.0.2) is gone" in errors


def test_gradients_that_travel_as_bfloat16_train_and_resume_to_the_bit(hosts, tmp_path):
    flags = ("--wire_dtype", "bfloat16")
    for name, steps in (("straight", 6), ("stopped", 3), ("float32", 6)):
        process = start(hosts, tmp_path / name, "--max_steps", steps, *flags * (name != "float32"))
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    program = (sys.executable, "-m", "launch.train", "--resume", tmp_path / "stopped", "--max_steps", 6)
    process = start_program(hosts, tmp_path, *program)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    losses = {name: [row["loss"] for row in metrics(tmp_path / name)] for name in ("straight", "stopped", "float32")}
    assert losses["straight"] == losses["stopped"] != losses["float32"]
    assert losses["straight"][:2] == pytest.approx(losses["float32"][:2], rel=1e-3)  # later small differences grow
