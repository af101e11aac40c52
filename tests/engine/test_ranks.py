"""The step, evaluation and resume under a real mpirun."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cellwright.kernels.csrc import shim_available

HERE = Path(__file__).parent
MPIRUN = Path(sys.executable).parent / "mpirun"


@pytest.fixture
def run(tmp_path):
    """Runs a scenario of ranks.py on so many ranks; returns the list of the ranks' results."""

    def run(scenario, ranks, *more):
        folder = tmp_path / "-".join([scenario, str(ranks), *more])
        folder.mkdir()
        environment = {
            **os.environ,
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(HERE.parent.parent),
        }
        command = [
            MPIRUN,
            "-n",
            str(ranks),
            "--oversubscribe",
            "--bind-to",
            "none",
            sys.executable,
            HERE / "ranks.py",
        ]
        done = subprocess.run(
            [*map(str, command), scenario, str(folder), *more],
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return json.loads((folder / "result.json").read_text())

    return run


def test_an_infinity_on_one_rank_of_three_is_skipped_by_all(run):
    results = run("overflow_on_one", 3)
    for result in results:
        assert result["reports"] == [[True, 1024, False], [False, 1024, True], [True, 512, False]]
        assert result["scale"] == 512
    assert len({result["weights"] for result in results}) == 1


def test_ranks_that_share_a_batch_make_the_step_of_one(run):
    (whole,) = run("share", 1)
    for ranks, *form in ((2,), (3,), (2, "flat"), (3, "forward")):
        results = run("share", ranks, *form)
        for result in results:
            assert result["weights"] == results[0]["weights"], "ranks disagree"
            assert result["votes"] == sum(range(ranks))
            assert result["loss"] == pytest.approx(whole["loss"], rel=1e-6)
        error = np.abs(np.subtract(results[0]["weights"], whole["weights"])).max() / np.abs(whole["weights"]).max()
        assert error <= 1e-6


def test_batch_norm_over_ranks_is_that_of_the_whole_batch(run):
    (stock,) = run("share_statistics", 1, "stock")
    for ranks in (1, 3):
        for result in run("share_statistics", ranks):
            error = np.abs(np.subtract(result["weights"], stock["weights"])).max() / np.abs(stock["weights"]).max()
            assert error <= 2e-6, ranks


def test_evaluation_counts_are_the_same_on_any_number_of_ranks(run):
    results = run("evaluate", 1) + run("evaluate", 3)
    for result in results:
        assert result["counts"] == results[0]["counts"]
        # A sample's own loss can differ in its last bit with its place in the batch, where vector code meets the tail.
        assert result["loss"] == pytest.approx(results[0]["loss"], rel=1e-6)
    assert results[1:] == results[1:2] * 3 and results[0]["counts"][2] == 53


def test_resume_on_two_ranks_is_exact_to_the_bit(run):
    results = run("resume", 2)
    assert all(result == {"start": [1, 2], "equal": True, "different_ranks": 2} for result in results)


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_sums_that_start_during_the_backward_make_the_same_steps_to_the_bit(run):
    """On pretended hosts of two ranks and of one; switched in between, and after a checkpoint."""
    for result in run("overlap", 3):
        found = result["found"]
        assert len({each["digest"] for each in found.values()}) == 1
        assert [each["during"] for each in found.values()] == ["000000", "001100", "000"]
        assert found["turns"]["compiled"] == ["first step", "overlap on"], "back again nothing is compiled"
        assert set(result["weights"]) == {1}


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_what_bfloat16_rounds_off_on_the_wire_is_state_that_resumes_to_the_bit(run):
    """On pretended hosts of two ranks and of one."""
    for result in run("wire", 3):
        found = result["found"]
        assert found["straight"] == found["resumed"]
        assert found["straight"][0] not in (found["forgetful"][0], found["float32"][0])
        assert result["error"] < 0.004, "of the way in float32: two roundings of one in 512"
        assert {votes for _, _, votes in found.values()} == {257 * 3}, "numbers beside the gradients are not rounded"
        assert set(result["weights"]) == {1} and result["others"]


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
@pytest.mark.parametrize(
    "ranks, cases", [(2, ["momentum"]), pytest.param(3, ["momentum", "adamw"], marks=pytest.mark.slow)]
)
def test_ranks_that_share_the_update_make_the_same_steps_to_the_bit(run, ranks, cases):
    """Three ranks: on pretended hosts of two and of one."""
    for rank, result in enumerate(run("shard", ranks, *cases)):
        for case in result.values():
            assert case["begun"][0] == case["begun"][1]
            assert case["states"][0] == case["states"][1], "the moments of a checkpoint differ"
            assert len({tuple(each) for each in case["went_on"]}) == 1, "after a checkpoint of the other kind"
            mine, whole = case["held"]
            assert mine == whole if rank == 2 else abs(mine - whole / 2) <= 16
            assert case["dump"] and case["overlaps"] == [ranks == 3, False]
        assert "False" in result["momentum"]["begun"][0][0], "no step was dropped"
