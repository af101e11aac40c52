"""Ranks that share cores compile a graph once a host: the same bits, masks of their own, and an end where one dies."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import MPIRUN, ROOT

from cellwright.kernels.csrc import shim_available
from cellwright.launch.host.cores import CorePlan, crowded

needs_shim = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
SCRIPT, RANKS = Path(__file__).with_name("graphs_in_turn.py"), 2


def run(cache, folder, *flags):
    """Runs the script on one core, with a cache; returns (what its ranks wrote, exit code)."""
    folder.mkdir()
    line = [MPIRUN, "-n", RANKS, "--bind-to", "none", sys.executable, SCRIPT, folder, *flags]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(cache)}
    environment["OMPI_MCA_mpi_yield_when_idle"] = "1"
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        done = subprocess.run(
            [str(word) for word in line], env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    finally:
        os.sched_setaffinity(0, before)
    if done.returncode and "die" not in flags:
        raise AssertionError(done.stderr[-3000:])
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))], done.returncode


def graphs(cache):
    """{name: bytes} of the graphs of each rank, by rank."""
    folders = sorted((cache / "cellwright" / "graphs").iterdir(), key=lambda folder: folder.name.partition("-")[2])
    return [{path.name: path.read_bytes() for path in folder.rglob("*.mindir")} for folder in folders]


@pytest.mark.parametrize("flags", [(), pytest.param(("shard",), marks=needs_shim)])
def test_ranks_that_share_a_graph_make_the_bits_of_those_that_do_not(tmp_path, flags):
    told = run(tmp_path / "cache", tmp_path / "cold", *flags)[0]
    first, second = graphs(tmp_path / "cache")
    assert sorted(first) == [f"compile_cache_{number}.mindir" for number in range(3)]
    assert first == second  # of a graph that is compiled anew other bytes are written
    for (losses, _, counts), (losses_alone, _, counts_alone) in told:
        assert losses == losses_alone == told[0][0][0] and counts == counts_alone and counts["total"] == 8
    words = [alone[1] for _, alone in told]  # a graph from disk sets its own copy, which Python does not see
    assert len({str(word) for rank in words for word in rank}) == 3 * RANKS  # a mask for each rank and step


@pytest.mark.slow
def test_the_next_start_finds_the_graphs(tmp_path):
    cold = run(tmp_path / "cache", tmp_path / "cold")[0]
    kept = graphs(tmp_path / "cache")
    for before, after in zip(cold, run(tmp_path / "cache", tmp_path / "warm")[0]):
        assert (before[0][0], before[0][2]) == (after[0][0], after[0][2])
    assert graphs(tmp_path / "cache") == kept


@pytest.mark.slow
def test_a_rank_that_dies_while_it_compiles_takes_the_waiting_ones_along(tmp_path):
    began = time.monotonic()
    told, code = run(tmp_path / "cache", tmp_path / "dead", "die")
    assert code and not told
    assert time.monotonic() - began < 200  # the turn that would not come has no limit of its own


@pytest.mark.parametrize(
    "graphs, quota, found",
    [
        (((0, 1), (2, 3)), None, False),
        (((0,), (1,), (0,)), None, True),
        (((0,), (1,)), 1.5, True),
        (((0, 1),), None, False),
    ],
)
def test_ranks_are_crowded_where_their_threads_are_more_than_their_cores(graphs, quota, found):
    assert crowded([CorePlan(cores, cores) for cores in graphs], quota) is found
