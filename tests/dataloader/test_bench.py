"""The loader's benchmark runs, on next to nothing and without its peer; what it measures here means nothing."""

import json

import pytest

from cellwright.launch.bench import decode_stages
from cellwright.launch.bench.loader import AUGMENTATIONS, Settings, measure, ratios


def test_every_case_is_measured():
    settings = Settings(workers=1, pictures=16, kilobytes=30, batch_size=4, seconds=0.02, rounds=1, peer=False)
    report = json.loads(json.dumps(measure(settings)))
    rates = {row["name"]: row["value"] for row in report["results"] if row["unit"] == "img/s"}
    assert len(rates) == 8 and all(rate > 0 for rate in rates.values())
    size = next(row["value"] for row in report["results"] if row["name"] == "synthetic pictures")
    assert 20 < size < 40
    peer = {"mindspore.dataset": 1.0, "mindspore.dataset, jitter": 2.0, "mindspore.dataset, uint8": 4.0}
    found = ratios({**rates, **peer})
    assert found["folder over mindspore.dataset, jitter"] == rates["folder, jitter"] / 2


def test_every_augmentation_is_measured():
    sizes = {"workers": 1, "pictures": 16, "kilobytes": 30, "batch_size": 4, "seconds": 0.02, "rounds": 1}
    report = measure(Settings(**sizes, augmentations=True))
    assert set(report["ratios"]) == {f"{name} over plain" for name in AUGMENTATIONS}


def test_every_stage_of_a_picture_is_measured_and_no_work_is_left_out():
    report = decode_stages.measure(decode_stages.Settings(pictures=8, kilobytes=30, rounds=1))
    assert len(report["ratios"]) == 9 and json.loads(json.dumps(report)) == report


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="--rounds 0"):
        Settings(rounds=0)
    with pytest.raises(ValueError, match="--pictures 10"):
        Settings(pictures=10)
