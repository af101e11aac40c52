"""The sums over ranks under mpirun: bit by bit without a graph, and as nodes of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellwright.kernels.csrc import shim_available

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not shim_available(), reason="the shim was not built"),
]
HERE = Path(__file__).parent


def run(ranks, *command):
    """Runs a program on so many ranks; each must print `right`, and nothing may be left in /dev/shm."""
    before = set(os.listdir("/dev/shm"))
    mpirun = str(Path(sys.executable).with_name("mpirun"))
    line = [mpirun, "-n", str(ranks), "--bind-to", "none"]
    line += [sys.executable, "-m", "mpi4py", *map(str, command)]  # a rank that fails ends the others
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[2]}"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("right") == ranks
    left = set(os.listdir("/dev/shm")) - before
    assert not [name for name in left if "cellwright" in name]


@pytest.mark.parametrize(
    "ranks, threads",
    [(2, 1), (3, 2), pytest.param(4, 1, marks=pytest.mark.slow), pytest.param(6, 3, marks=pytest.mark.slow)],
)
def test_sums_have_the_bits_of_their_stated_order_on_one_host_and_several(ranks, threads):
    run(ranks, HERE / "share_rank.py", threads)


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_nodes_of_a_graph_sum_alike_on_all_ranks(ranks):
    run(ranks, HERE / "reduce_rank.py")
