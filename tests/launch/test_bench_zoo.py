"""The member zoo of the bench: what it makes of its processes' reports; a network of MindCV where that is installed."""

import importlib.util
import json

import numpy as np
import pytest

from cellwright.launch.bench import zoo

REPORTS = {
    "ours": {
        **{"train_s": 0.1, "eval_s": 0.02, "peak_mib": 300, "programs": 2, "share": 0.9},
        **{"flops": 2e9, "attainable_flops": 2e11},
    },
    "stock": {"train_s": 0.3, "eval_s": 0.05, "peak_mib": 400},
    "stock-all": {"train_s": 0.2, "eval_s": 0.06, "peak_mib": 400},
}


def test_speeds_are_ratios_to_the_better_stock_setting(monkeypatch):
    def run_variant(net, variant, settings, arrays):
        off = {"ours": 1e-3, "stock-all": 2e-3}.get(variant, 0.0)
        ones = np.ones((1, 100))
        np.savez(arrays, evaluation=ones, training=ones, gradient0=ones, gradient1=ones * (1 + off))
        return REPORTS[variant], None

    monkeypatch.setattr(zoo, "run_variant", run_variant)
    found = zoo.measure(zoo.Settings(nets="resnet18", rounds=1))
    assert json.loads(json.dumps(found)) == found
    assert found["ratios"] == {
        "resnet18: training, ours / stock": pytest.approx(2),
        "resnet18: evaluation, ours / stock": pytest.approx(2.5),
    }
    rows = {row["name"]: row["value"] for row in found["results"]}
    assert rows["resnet18: FLOPs on programs"] == pytest.approx(90)
    assert rows["resnet18: evaluation, of the roof"] == pytest.approx(50)
    assert rows["resnet18: training, of the roof"] == pytest.approx(30)
    assert rows["resnet18: difference of gradients, ours"] == pytest.approx(1e-3 / 2**0.5)
    assert rows["resnet18: difference of gradients, stock in another order"] == pytest.approx(2e-3 / 2**0.5)
    assert rows["resnet18: ours, evaluation"] == pytest.approx(20)
    assert rows["resnet18: difference of evaluation, ours"] == 0


def test_numbers_are_held_against_float64_over_the_draws(monkeypatch):
    off = {"ours": [1e-6, 3e-6, 4e-2], "stock": [2e-6, 1e-2, 3e-2], "float64": [0, 0, 0]}

    def run_variant(net, variant, settings, arrays):
        values = np.ones((3, 50)) * (1 + np.array(off[variant]))[:, None]
        np.savez(arrays, evaluation=values, training=values, gradient0=values)
        return REPORTS.get(variant, {}), None

    monkeypatch.setattr(zoo, "run_variant", run_variant)
    found = zoo.measure(zoo.Settings(nets="resnet18", variants="ours,stock,float64", torch="python", draws=3))
    rows = {row["name"]: row["value"] for row in found["results"]}
    wanted = {"ours from float64": 3e-6, "ours from float64, the most": 4e-2, "stock from float64": 1e-2}
    for label, value in wanted.items():
        assert rows[f"resnet18: difference of gradients, {label}"] == pytest.approx(value)
    assert rows["resnet18: difference of gradients, ours"] == pytest.approx(0.01, rel=0.05)


def test_a_process_that_fails_is_named():
    settings = zoo.Settings(nets="resnet18", variants="torch", torch="false", rounds=1)
    found = zoo.measure(settings)
    assert found["results"] == [] and list(found["failures"]) == ["resnet18: torch"]


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="--nets 'lenet'"):
        zoo.Settings(nets="lenet")
    with pytest.raises(ValueError, match="--variants 'theirs'"):
        zoo.Settings(variants="theirs")
    with pytest.raises(ValueError, match="--steps 0"):
        zoo.Settings(steps=0)


@pytest.mark.skipif(importlib.util.find_spec("mindcv") is None, reason="MindCV (the extra `zoo`) is not installed")
def test_a_network_of_mindcv():
    found = zoo.measure(zoo.Settings(nets="squeezenet1_0", variants="ours,stock", rounds=1, steps=1, batch=2, size=64))
    assert not found["failures"]
    rows = {row["name"]: row["value"] for row in found["results"]}
    assert 0 <= rows["squeezenet1_0: FLOPs on programs"] <= 100
    assert rows["squeezenet1_0: difference of evaluation, ours"] < 1e-3
