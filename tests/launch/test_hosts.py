"""Two hosts: network namespaces with names and addresses of their own, and an agent in the place of ssh."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from job_process import ends, processes_of, ranks_of, wait_for_steps
from runs import ENVIRONMENT, MPIRUN, ROOT, metrics

pytestmark = pytest.mark.slow
TINY = ("--net", "tinydarknet", "--batch_size", 8, "--image_size", 32, "--eval_interval", 0)
HOSTS = {"10.77.0.1": f"cw{os.getpid()}a", "10.77.0.2": f"cw{os.getpid()}b"}

AGENT = """#!/bin/sh
# agent ADDRESS COMMAND...: what ssh would be
case $1 in
{cases}
esac
shift
exec ip netns exec $host unshare --uts sh -c "hostname $host; $*"
"""


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """The folder that holds `hostfile` and `agent` for two hosts that see each other."""
    first, second = HOSTS.values()
    made = ip("netns", "add", first, check=False)
    if made.returncode:
        pytest.skip(f"no right to make network namespaces: {made.stderr.strip()}")
    try:
        ip("netns", "add", second)
        ip("link", "add", f"v{first}", "type", "veth", "peer", "name", f"v{second}")
        for address, host in HOSTS.items():
            ip("link", "set", f"v{host}", "netns", host)
            ip("-n", host, "addr", "add", f"{address}/24", "dev", f"v{host}")
            ip("-n", host, "link", "set", f"v{host}", "up")
            ip("-n", host, "link", "set", "lo", "up")
        folder = tmp_path_factory.mktemp("hosts")
        (folder / "hostfile").write_text("".join(f"{address} slots=1\n" for address in HOSTS))
        agent = folder / "agent"
        agent.write_text(AGENT.format(cases="\n".join(f"{a}) host={h};;" for a, h in HOSTS.items())))
        agent.chmod(0o755)
        yield folder
    finally:
        for host in HOSTS.values():
            ip("netns", "del", host, check=False)


def start(hosts, run, *flags):
    line = [MPIRUN, "--hostfile", hosts / "hostfile", "-n", 2, "--map-by", "node"]
    line += ["--prtemca", "plm_ssh_agent", hosts / "agent", sys.executable, "-m", "launch.train", "--run_dir", run]
    first = next(iter(HOSTS.values()))
    inside = f'hostname {first}; exec "$@"'
    line = ["ip", "netns", "exec", first, "unshare", "--uts", "sh", "-c", inside, "sh", *line, *TINY, *flags]
    environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), "RUN_MARK": str(run)}
    environment.pop("PRTE_MCA_rmaps_default_mapping_policy")
    return subprocess.Popen(
        [str(word) for word in line],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("backend", ["mpi", "mccl"])
def test_ranks_on_two_hosts_train_together(hosts, tmp_path, backend):
    run = tmp_path / "run"
    process = start(hosts, run, "--backend", backend, "--max_steps", 3)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert f"2 ranks on CPU ({backend})" in output
    assert len(metrics(run)) == 3


def test_gradients_that_leave_early_make_the_same_steps(hosts, tmp_path):
    losses = []
    for overlap in (False, True):
        run = tmp_path / str(overlap)
        process = start(hosts, run, "--max_steps", 4, "--overlap", overlap, "--bucket_mb", 0.5)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        losses.append([row["loss"] for row in metrics(run)])
    assert losses[0] == losses[1] and len(losses[0]) == 4


def test_dry_run_names_the_hosts(hosts, tmp_path):
    output, _ = start(hosts, tmp_path / "run", "--dry_run").communicate(timeout=300)
    assert f"world: 2 ranks on {', '.join(HOSTS.values())}, back end mpi" in output


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
