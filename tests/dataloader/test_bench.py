"""The loader's benchmark runs, on next to nothing; what it measures here means nothing."""

import json

import pytest

from cellwright.launch.bench import decode_stages
from cellwright.launch.bench.loader import AUGMENTATIONS, Settings, measure, ratios

SMALL = {"workers": 1, "pictures": 16, "kilobytes": 30, "batch_size": 4, "seconds": 0.02, "rounds": 1}


def rates_of(report):
    return {row["name"]: row["value"] for row in report["results"] if row["unit"] == "img/s"}


def test_every_case_is_measured():
    report = json.loads(json.dumps(measure(Settings(**SMALL, peers="none"))))
    rates = rates_of(report)
    assert len(rates) == 9 and all(rate > 0 for rate in rates.values())
    size = next(row["value"] for row in report["results"] if row["name"] == "synthetic pictures")
    assert 20 < size < 40
    assert list(report["ratios"]) == ["folder over folder, 1 worker"]
    peers = {"mindspore.dataset, jitter": 2.0, "FFCV raw, uint8": 4.0}
    assert ratios({**rates, **peers}) == {
        **report["ratios"],
        "folder, jitter over mindspore.dataset, jitter": rates["folder, jitter"] / 2,
        "pack raw 256, uint8 over FFCV raw, uint8": rates["pack raw 256, uint8"] / 4,
    }


def test_a_peer_runs_beside_it_for_as_many_rounds_and_one_that_is_missing_is_left_out(capfd):
    report = measure(Settings(**{**SMALL, "rounds": 2}, peers="mindspore,ffcv", output="uint8"))
    (row,) = (row for row in report["results"] if row["name"] == "mindspore.dataset, uint8")
    assert len(row["rounds"]) == 2 and min(row["rounds"]) > 0
    (taken,) = (row for row in report["results"] if row["name"] == "mindspore.dataset, uint8, processor")
    assert taken["value"] > 0
    assert "folder, uint8 over mindspore.dataset, uint8" in report["ratios"]
    assert "folder" not in rates_of(report)
    assert "has no ffcv: FFCV raw is left out" in capfd.readouterr().err


def test_every_augmentation_is_measured():
    report = measure(Settings(**SMALL, augmentations=True))
    assert set(report["ratios"]) == {f"{name} over plain" for name in AUGMENTATIONS}


def test_every_stage_of_a_picture_is_measured_and_no_work_is_left_out():
    report = decode_stages.measure(decode_stages.Settings(pictures=8, kilobytes=30, rounds=1))
    assert len(report["ratios"]) == 9 and json.loads(json.dumps(report)) == report


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="--rounds 0"):
        Settings(rounds=0)
    with pytest.raises(ValueError, match="--pictures 10"):
        Settings(pictures=10)
    with pytest.raises(ValueError, match="--peers 'dalli': known are"):
        Settings(peers="dali,dalli")
    with pytest.raises(ValueError, match="--output 'none'"):
        Settings(output="none")
