"""`python -m launch.profile` on two ranks, and the verdict on jobs that are slow for a known reason."""

import json
import os
import subprocess
import sys

import pytest
from runs import MPIRUN, ROOT, command

from cellwright.kernels.csrc import shim_available
from cellwright.launch.host.clock_offsets import offset_of
from cellwright.launch.profile import Endless, ProfileSettings, compare

pytestmark = pytest.mark.alone

HERE = ROOT / "tests"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("profile") / "out"
    flags = (
        "--net",
        "tinydarknet",
        "--batch_size",
        8,
        "--out",
        folder,
        "--profile_steps",
        3,
        "--warm_up",
        2,
        "--trace_events",
        3000,
    )
    done = command("launch.profile", *flags, ranks=2)
    assert "Try first:" in done.stdout and "report.html" in done.stdout
    return folder


@pytest.mark.slow
def test_a_second_profile_of_stock_kernels_knows_the_same_layers(tmp_path):
    flags = ("--net", "tinydarknet", "--kernels", "stock", "--batch_size", 8, "--profile_steps", 2, "--warm_up", 1)
    names = []
    for number in range(2):
        out = tmp_path / str(number)
        command("launch.profile", *flags, "--out", out, XDG_CACHE_HOME=str(tmp_path / "cache"))
        kernels = json.loads((out / "profile.json").read_text())["kernels"]
        # Kernels of no layer lie in whatever phase they ran in, which the framework's threads settle anew each step.
        names.append({(kernel["kind"], kernel["layer"], kernel["phase"]) for kernel in kernels if kernel["layer"]})
    assert names[0] == names[1]
    assert ("Conv2DBackpropFilter", "conv14.conv", "backward") in names[1]
    compared = command("launch.profile", "--compare", tmp_path / "0/profile.json", tmp_path / "1/profile.json").stdout
    assert " new " not in compared and " gone " not in compared


def test_profile_trace_and_report_are_written_for_two_ranks(folder):
    made = json.loads((folder / "profile.json").read_text())
    assert [rank["rank"] for rank in made["ranks"]] == [0, 1]
    assert made["about"]["ranks"] == 2 and made["about"]["versions"]["mindspore"]
    assert {row["phase"] for row in made["phases"]} >= {
        "forward",
        "backward",
        "allreduce",
        "update",
        "data wait",
        "host",
    }
    assert made["step_ms"]["steps"] == 3 and made["lost_events"] == 0 and made["overhead"]["plain_ms"] > 0
    assert made["verdict"]["text"].count("Exposed allreduce") == 1
    assert set(made["loader"]["ms_per_image"]) == {"read", "decode", "augment", "write"}
    assert not list(folder.glob("checkpoints")) and (folder / "report.html").stat().st_size > 100_000
    if shim_available():
        assert any(row["source"] == "program" and row["layer"] == "conv1.conv" for row in made["kernels"])
        assert any(row["kind"] == "allreduce" for row in made["kernels"])


def test_the_trace_has_all_ranks_their_workers_and_a_checkpoint(folder):
    trace = json.loads((folder / "trace.json").read_text())
    events = trace["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert len(spans) <= 3000 and all(event["dur"] >= 0 and event["ts"] >= 0 for event in spans)
    tracks = {(e["pid"], e["args"]["name"]) for e in events if e["name"] == "thread_name"}
    assert {(rank, track) for rank in (0, 1) for track in ("steps", "host", "collectives", "loader worker 0")} <= tracks
    names = {(event["pid"], event["name"]) for event in spans}
    for rank in (0, 1):
        assert {
            (rank, name) for name in ("checkpoint", "data wait", "graph", "read", "decode", "augment", "write")
        } <= names
        assert any(event["ph"] == "C" and event["pid"] == rank for event in events)
    # Both ranks leave an allreduce within moments of each other: the clocks agree.
    ends = [
        sorted(e["ts"] + e["dur"] for e in spans if e["pid"] == rank and e["name"].startswith("allreduce"))
        for rank in (0, 1)
    ]
    assert len(ends[0]) == len(ends[1]) > 0
    apart = sorted(abs(a - b) for a, b in zip(*ends))
    assert apart[len(apart) // 2] < 20_000


def test_compare_is_a_command(folder, capsys):
    file = str(folder / "profile.json")
    assert compare(["--compare", file, file]) == 0
    assert "0 kernels became slower" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[]", '{"kernels": [], "step_ms": null}', "no JSON"])
def test_what_is_no_profile_is_one_line(text, capsys, tmp_path):
    file = tmp_path / "other.json"
    file.write_text(text)
    assert compare(["--compare", str(file), str(file)]) == 2
    error = capsys.readouterr().err
    assert "other.json is no profile" in error and error.count("\n") == 1


@pytest.fixture(scope="module")
def causes():
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE / "engine")])}
    line = [MPIRUN, "-n", "2", "--bind-to", "none", sys.executable, HERE / "launch" / "profile_causes.py"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
@pytest.mark.parametrize("cause", ["slow rank", "slow rank, shared update"])
def test_a_slow_rank_is_named(causes, cause):
    found = causes[cause]
    assert found["bound"] == "straggler" and found["straggler"] == 1, found
    assert found["gain"] > 1.5


@pytest.mark.skipif(not shim_available(), reason="the shim was not built")
def test_tiny_buckets_are_found_and_one_bucket_is_not_blamed_for_its_size(causes):
    found = causes["tiny buckets"]
    assert found["bound"] == "allreduce" and found["flag"] == "--bucket_mb 25", found
    assert found["nodes"] == 8 and found["exposed"] > 8 * 3 * 0.9  # a message for each tensor
    one = causes["one bucket"]
    assert one["nodes"] == 1 and one["flag"] != "--bucket_mb 25", one
    assert 3 * 0.9 < one["exposed"] < found["exposed"] / 2


def test_the_quickest_exchange_tells_the_offset():
    slow, quick = (0, 5_000_900, 2_000), (10_000, 5_010_050, 10_100)
    assert offset_of([slow, quick]) == (10_050 - 5_010_050, 50)


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="--profile_steps 1: must be at least 2"):
        ProfileSettings(profile_steps=1)


def test_batches_go_on_after_the_epoch():
    class Two:
        occupancy = worker_spans = None

        def epoch(self, number):
            return iter([(number, 0), (number, 1)])

    batches = Endless(Two())
    assert [next(batches) for _ in range(5)] == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
