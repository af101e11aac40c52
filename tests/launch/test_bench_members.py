"""The members eval and start-up of the bench run, on next to nothing; what they measure here means nothing."""

import json

import pytest

from cellwright.launch.bench import __main__ as bench
from cellwright.launch.bench import eval as bench_eval
from cellwright.launch.bench import start_up as bench_start_up
from cellwright.launch.bench.pictures.photographs import PHOTOGRAPHS


@pytest.mark.slow
def test_eval_meets_its_peers():
    found = bench_eval.measure(bench_eval.Settings(nets="tinydarknet", rounds=1, batches=1, passes=1, size=32))
    assert json.loads(json.dumps(found)) == found
    assert {row["name"] for row in found["results"]} == {f"tinydarknet: {name}" for name in bench_eval.OURS}
    assert set(found["ratios"]) == {"tinydarknet: ours / ours stock", "tinydarknet: ours / mindspore"}
    assert all(row["value"] > 0 for row in found["results"])


def test_a_start_is_timed_from_outside(tmp_path):
    report = bench_start_up.start("tinydarknet", "ours", tmp_path / "cache", 32)
    assert 0 < report["first_step_s"] < report["start_s"]
    assert any((tmp_path / "cache").rglob("*"))  # the graphs for the next start


def test_the_family_has_both_and_wrong_settings_are_named():
    assert {"eval", "start-up"} <= set(bench.members())
    assert "own-process" not in bench.members()
    with pytest.raises(ValueError, match="--nets 'lenet'"):
        bench_eval.Settings(nets="lenet")
    with pytest.raises(ValueError, match="--rounds 0"):
        bench_start_up.Settings(rounds=0)


def test_a_wrong_setting_is_one_line(capsys):
    with pytest.raises(SystemExit) as ended:
        bench.main(["loader", "--pictures", "60"])
    assert ended.value.code == 2
    message = "python -m launch.bench: loader: --pictures 60: at least two batches of 64 are needed\n"
    assert capsys.readouterr().err == message


def test_pictures_that_are_not_installed_are_one_line(capsys, monkeypatch):
    monkeypatch.setitem(PHOTOGRAPHS, "no_such_package", ())
    with pytest.raises(SystemExit) as ended:
        bench.main(["loader", "--photographs", "True"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("pip install 'cellwright[photographs]'\n")
