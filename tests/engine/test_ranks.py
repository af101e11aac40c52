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


def run(folder, ranks, *scenarios):
    """Runs scenarios of ranks.py on so many ranks; returns {scenario: list of the ranks' results}."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent.parent)}
    command = [MPIRUN, "-n", str(ranks), "--bind-to", "none"]
    command += [sys.executable, "-m", "mpi4py", HERE / "ranks.py"]  # a rank that fails ends the others
    done = subprocess.run(
        [*map(str, command), str(folder), *scenarios], env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    everyone = json.loads((folder / "result.json").read_text())
    return {scenario: [result[scenario] for result in everyone] for scenario in scenarios}


# A start of ranks costs as much as a scenario: each of these runs what several tests look at.
@pytest.fixture(scope="module")
def one(tmp_path_factory):
    scenarios = ("share:usual", "share_statistics", "share_statistics:stock", "evaluate")
    return run(tmp_path_factory.mktemp("one"), 1, *scenarios)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    scenarios = ("share:flat:forward", "resume", *(["factored"] if shim_available() else []))
    return run(tmp_path_factory.mktemp("two"), 2, *scenarios)


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    scenarios = ["overflow_on_one", "share:usual", "share_statistics", "evaluate"]
    return run(tmp_path_factory.mktemp("three"), 3, *scenarios, *(["overlap", "wire"] if shim_available() else []))


def test_an_infinity_on_one_rank_of_three_is_skipped_by_all(three):
    results = three["overflow_on_one"]
    for result in results:
        assert result["reports"] == [[True, 1024, False], [False, 1024, True], [True, 512, False]]
        assert result["scale"] == 512
    assert len({result["weights"] for result in results}) == 1


def test_ranks_that_share_a_batch_make_the_step_of_one(one, two, three):
    whole = one["share:usual"][0]["usual"]
    shared = [(2, two["share:flat:forward"], form) for form in ("flat", "forward")]
    for ranks, everyone, form in (*shared, (3, three["share:usual"], "usual")):
        results = [result[form] for result in everyone]
        for result in results:
            assert result["weights"] == results[0]["weights"], "ranks disagree"
            assert result["votes"] == sum(range(ranks))
            assert result["loss"] == pytest.approx(whole["loss"], rel=1e-6)
        error = np.abs(np.subtract(results[0]["weights"], whole["weights"])).max() / np.abs(whole["weights"]).max()
        assert error <= 1e-6


def test_batch_norm_over_ranks_is_that_of_the_whole_batch(one, three):
    (stock,) = one["share_statistics:stock"]
    for result in one["share_statistics"] + three["share_statistics"]:
        error = np.abs(np.subtract(result["weights"], stock["weights"])).max() / np.abs(stock["weights"]).max()
        assert error <= 2e-6


def test_evaluation_counts_are_the_same_on_any_number_of_ranks(one, three):
    results = one["evaluate"] + three["evaluate"]
    for result in results:
        assert result["counts"] == results[0]["counts"]
        # A sample's own loss can differ in its last bit with its place in the batch, where vector code meets the tail.
        assert result["loss"] == pytest.approx(results[0]["loss"], rel=1e-6)
    assert results[1:] == results[1:2] * 3 and results[0]["counts"][2] == 53


def test_resume_on_two_ranks_is_exact_to_the_bit(two):
    assert two["resume"] == [{"start": [1, 2], "equal": True, "different_ranks": 2}] * 2


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_sums_that_start_during_the_backward_make_the_same_steps_to_the_bit(three):
    """On pretended hosts of two ranks and of one; switched in between, and after a checkpoint."""
    for result in three["overlap"]:
        found = result["found"]
        assert len({each["digest"] for each in found.values()}) == 1
        assert [each["during"] for each in found.values()] == ["000000", "001100", "000"]
        assert found["turns"]["compiled"] == ["first step", "overlap on"], "back again nothing is compiled"
        assert set(result["weights"]) == {1}


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_what_bfloat16_rounds_off_on_the_wire_is_state_that_resumes_to_the_bit(three):
    """On pretended hosts of two ranks and of one."""
    for result in three["wire"]:
        found = result["found"]
        assert found["straight"] == found["resumed"]
        assert found["straight"][0] not in (found["forgetful"][0], found["float32"][0])
        assert result["error"] < 0.004, "of the way in float32: two roundings of one in 512"
        assert {votes for _, _, votes in found.values()} == {257 * 3}, "numbers beside the gradients are not rounded"
        assert set(result["weights"]) == {1} and result["others"]


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
@pytest.mark.parametrize(
    "ranks, cases", [(2, ["momentum", "adamw"]), pytest.param(3, ["momentum", "adamw"], marks=pytest.mark.slow)]
)
def test_ranks_that_share_the_update_make_the_same_steps_to_the_bit(tmp_path, ranks, cases):
    """Three ranks: on pretended hosts of two and of one."""
    scenario = ":".join(["shard", *cases])
    for rank, result in enumerate(run(tmp_path, ranks, scenario)[scenario]):
        for name, case in result.items():
            assert case["begun"][0] == case["begun"][1]
            # On one host, and where nobody clips them or looks whether they are finite.
            in_update = ranks == 2 and name == "adamw"
            assert case["sums_in_update"] == [in_update, False]
            assert case["update_nodes"] == [f"sums and {name}" if in_update else name]
            assert case["states"][0] == case["states"][1], "the moments of a checkpoint differ"
            assert len({tuple(each) for each in case["went_on"]}) == 1, "after a checkpoint of the other kind"
            mine, whole = case["held"]
            assert mine - whole / (1 if rank == 2 else 2) in (16, 16.5), "all ranks have room for the largest part"
            assert case["dump"] and case["overlaps"] == [ranks == 3, False]
        assert "False" in result["momentum"]["begun"][0][0], "no step was dropped"


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_gradients_that_come_as_factors_make_the_same_steps_to_the_bit(two):
    for result in two["factored"]:
        for kind in ("momentum", "adamw", "silent"):
            assert result[kind][0] == result[kind][1], kind
        assert result["half"] == pytest.approx(result["momentum"][0][0][:2], rel=0.01), "in float16"
        assert "cellwright_shared_momentum) is 82" in result["twice"], "a sum of factors is none"
