"""Clipping, averages, LARS, dropout, compilations and the logs, each by a property of its own."""

import struct

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor
from small_net import NORMALISE, DropNet, SmallNet, images_and_labels

from cellwright.engine import LARS, Momentum, SoftmaxCrossEntropy, TrainOneStep
from cellwright.engine.loop.curves import thin, write_curves
from cellwright.engine.loop.events import Events, masked_crc
from cellwright.engine.loop.metrics import Metrics, read_metrics


def make_step(net, optimizer=None, **settings):
    optimizer = optimizer or Momentum(net.trainable_params(), 0.9)
    return TrainOneStep(net, SoftmaxCrossEntropy(10), optimizer, normalise=NORMALISE, **settings)


@pytest.mark.parametrize("limit", [1e-3, 0.05, 100.0])
def test_clipping_shortens_the_step_to_the_limit_and_no_further(limit):
    net = SmallNet(norm=False)
    step = make_step(net, clip_norm=limit)
    before = np.concatenate([p.asnumpy().ravel() for p in net.trainable_params()])
    report = step(*images_and_labels(8), lr=1.0)
    moved = before - np.concatenate([p.asnumpy().ravel() for p in net.trainable_params()])
    assert np.linalg.norm(moved) == pytest.approx(min(limit, report.gradient_norm), rel=1e-3)


def test_lars_moves_a_layer_by_trust_times_its_norm():
    net = SmallNet(norm=False)
    step = make_step(net, LARS(net.trainable_params(), 0.0, trust=0.01))
    before = {p.name: p.asnumpy().copy() for p in net.trainable_params()}
    step(*images_and_labels(8), lr=1.0)
    for name in ("conv.weight", "head.weight"):
        moved = before[name] - net.parameters_dict()[name].asnumpy()
        assert np.linalg.norm(moved) == pytest.approx(0.01 * np.linalg.norm(before[name]), rel=1e-3)


def test_averaged_weights_can_be_swapped_in_and_out():
    net = SmallNet()
    step = make_step(net, ema=0.9)
    for _ in range(3):
        step(*images_and_labels(8), lr=0.1)
    own = net.head.weight.asnumpy().copy()
    with step.ema.swapped_in():
        inside = net.head.weight.asnumpy().copy()
    average = {p.name: p for p in step.ema.average}["ema.head.weight"].asnumpy()
    np.testing.assert_array_equal(inside, average)
    np.testing.assert_array_equal(net.head.weight.asnumpy(), own)
    assert not np.array_equal(own, average)


def test_dropout_draws_by_seed_and_step_alone():
    def losses(seed, start, count):
        net = DropNet()
        step = make_step(net, seed=seed)
        step.counter.steps.set_data(Tensor(start, ms.int32))
        return [step(*images_and_labels(64), lr=0.0).loss for _ in range(count)]

    straight = losses(1, 0, 4)
    assert len(set(straight)) == 4, "the mask is the same in every step"
    assert losses(1, 2, 2) == straight[2:]
    assert losses(2, 0, 1)[0] != straight[0]


def test_dropout_keeps_the_right_share_and_mean():
    net = DropNet()
    step = make_step(net)
    dropout = step.dropouts[0]
    dropout.set_train(True)
    out = dropout(Tensor(np.ones((1000, 50), np.float32))).asnumpy()
    assert set(np.unique(out)) == {0.0, 2.0}
    assert abs((out > 0).mean() - 0.5) < 0.01
    assert abs((out[:, 1:] * out[:, :-1]).mean() - 1.0) < 0.03, "neighbours are correlated"
    dropout.set_train(False)
    assert dropout(Tensor(np.ones(3, np.float32))).asnumpy().tolist() == [1, 1, 1]


def test_a_compilation_in_mid_run_names_the_argument(caplog):
    step = make_step(SmallNet())
    images, labels = images_and_labels(8)
    step(images, labels, lr=0.1)
    step(images, labels, lr=0.05)
    assert [c.changed for c in step.new_compilations()] == ["first step"]
    step(images[:6], labels[:6], lr=0.05)
    (again,) = step.new_compilations()
    assert again.changed == (
        "images UInt8[8, 8, 8, 3] -> UInt8[6, 8, 8, 3], labels Int32[8] -> Int32[6], weights Float32[8] -> Float32[6]"
    )
    assert "images UInt8[8, 8, 8, 3] -> UInt8[6, 8, 8, 3]" in caplog.text


def test_metrics_of_a_dead_run_are_cut_at_the_resume(tmp_path):
    record = {
        "epoch": 0,
        "loss": 1.5,
        "lr": 0.1,
        "loss_scale": 1.0,
        "step_ms": 2.0,
        "wait_ms": 0.5,
        "images_per_s": 9.0,
    }
    metrics = Metrics(tmp_path)
    for number in range(5):
        metrics.write({"step": number, **record})
    metrics.close()
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 5, "ep')  # killed while writing
    metrics = Metrics(tmp_path, first_step=3)
    metrics.write({"step": 3, **record, "loss": float("nan")})
    metrics.close()
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [0, 1, 2, 3]
    assert (tmp_path / "metrics.csv").read_text().splitlines()[-1] == "3,0,nan,0.1,1.0,2.0,0.5,9.0"
    page = write_curves(tmp_path, "a <run>").read_text()
    assert page.count("<svg") == 5 and "a &lt;run&gt;" in page and "http" not in page


def test_thinned_curves_keep_mean_and_extremes():
    values = np.random.default_rng(0).normal(size=5000).tolist()
    bins = thin(list(enumerate(values)), 100)
    assert len(bins) == 100
    assert np.mean([b[1] for b in bins]) == pytest.approx(np.mean(values))
    assert (min(b[2] for b in bins), max(b[3] for b in bins)) == (min(values), max(values))


def test_event_files_hold_the_scalars(tmp_path):
    assert masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    events = Events(tmp_path)
    events.write(300, {"loss": 1.25})
    events.close()
    data = next(tmp_path.iterdir()).read_bytes()
    messages = []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert struct.unpack("<I", data[8:12])[0] == masked_crc(data[:8])
        message = data[12 : 12 + length]
        assert struct.unpack("<I", data[12 + length : 16 + length])[0] == masked_crc(message)
        messages.append(message)
        data = data[16 + length :]
    assert messages[0].endswith(b"\x1a\x0dbrain.Event:2")
    # step 300 as a varint, then summary { value { tag: "loss" simple_value: 1.25 } }
    assert messages[1][9:] == b"\x10\xac\x02" + b"\x2a\x0d\x0a\x0b\x0a\x04loss\x15" + struct.pack("<f", 1.25)
