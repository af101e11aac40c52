"""Clipping, averages, LARS, dropout, compilations and the logs, each by a property of its own."""

import struct
import sys

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn
from small_net import DropNet, OtherDropout, SmallNet, images_and_labels, step_of
from tensorboardX.proto import event_pb2

from cellwright.engine import LARS, LossScale, synchronise_batch_norm
from cellwright.engine.loop.curves import Curves, Series, write_curves
from cellwright.engine.loop.metrics import Metrics, read_metrics
from cellwright.engine.loop.tensorboard import check_tensorboard, open_events
from cellwright.kernels.nodes import Allreduce


@pytest.mark.parametrize("limit", [1e-3, 0.05, 100.0])
def test_clipping_shortens_the_step_to_the_limit_and_no_further(limit):
    net = SmallNet(norm=False)
    step = step_of(net, clip_norm=limit)
    before = np.concatenate([p.asnumpy().ravel() for p in net.trainable_params()])
    report = step(*images_and_labels(8), lr=1.0)
    moved = before - np.concatenate([p.asnumpy().ravel() for p in net.trainable_params()])
    assert np.linalg.norm(moved) == pytest.approx(min(limit, report.gradient_norm), rel=1e-3)


def test_lars_moves_a_layer_by_trust_times_its_norm():
    net = SmallNet(norm=False)
    step = step_of(net, LARS(net.trainable_params(), 0.0, trust=0.01))
    before = {p.name: p.asnumpy().copy() for p in net.trainable_params()}
    step(*images_and_labels(8), lr=1.0)
    for name in ("conv.weight", "head.weight"):
        moved = before[name] - net.parameters_dict()[name].asnumpy()
        assert np.linalg.norm(moved) == pytest.approx(0.01 * np.linalg.norm(before[name]), rel=1e-3)


def test_averaged_weights_can_be_swapped_in_and_out():
    net = SmallNet()
    step = step_of(net, ema=0.9)
    for _ in range(3):
        step(*images_and_labels(8), lr=0.1)
    own = net.head.weight.asnumpy().copy()
    with step.ema.swapped_in():
        inside = net.head.weight.asnumpy().copy()
    average = {p.name: p for p in step.ema.average}["ema.head.weight"].asnumpy()
    np.testing.assert_array_equal(inside, average)
    np.testing.assert_array_equal(net.head.weight.asnumpy(), own)
    assert not np.array_equal(own, average)


@pytest.mark.parametrize("mode", [ms.GRAPH_MODE, ms.PYNATIVE_MODE], ids=["graph mode", "pynative mode"])
def test_an_evaluation_by_averaged_weights_leaves_no_trace(mode):
    ms.set_context(mode=mode)

    def train(evaluated):
        # Overflows are dropped: the update, and the average's, are a branch of the graph.
        step = step_of(SmallNet(), ema=0.9, loss_scale=LossScale.dynamic(init=1024, window=3))
        for seed in range(4):
            step(*images_and_labels(8, seed=seed), lr=0.1)
            if evaluated:
                with step.ema.swapped_in():
                    pass
        return [p.asnumpy().tobytes() for p in (*step.network.get_parameters(), *step.state_parameters())]

    assert train(evaluated=True) == train(evaluated=False)


@pytest.mark.parametrize("make", [lambda: None, lambda: OtherDropout(0.5)], ids=["nn.Dropout", "a subclass"])
def test_dropout_draws_by_seed_and_step_alone(make):
    def losses(seed, start, count):
        net = DropNet(make())
        step = step_of(net, seed=seed)
        step.begin.steps.set_data(Tensor(start, ms.int32))
        return [step(*images_and_labels(64), lr=0.0).loss for _ in range(count)]

    straight = losses(1, 0, 4)
    assert len(set(straight)) == 4, "the mask is the same in every step"
    assert losses(1, 2, 2) == straight[2:]
    assert losses(2, 0, 1)[0] != straight[0]


def test_a_second_step_on_a_network_has_its_own_seed_and_counter():
    net = DropNet()
    first, second = step_of(net, seed=1), step_of(net, seed=2)
    images, labels = images_and_labels(64)
    mixed = [(first(images, labels, lr=0.0).loss, second(images, labels, lr=0.0).loss) for _ in range(2)]
    alone = {seed: step_of(DropNet(), seed=seed) for seed in (1, 2)}
    assert [pair[0] for pair in mixed] == [alone[1](images, labels, lr=0.0).loss for _ in range(2)]
    assert [pair[1] for pair in mixed] == [alone[2](images, labels, lr=0.0).loss for _ in range(2)]
    assert first.begin.steps.asnumpy() == second.begin.steps.asnumpy() == 2


def test_micro_batches_of_a_step_draw_masks_of_their_own():
    step = step_of(DropNet(), accumulate=2)
    images, labels = images_and_labels(64)
    losses = []
    for _ in range(2):
        step(images, labels, lr=0.0)
        before = float(step.graph.loss.asnumpy()) / float(step.graph.shares.asnumpy())
        both = step(images, labels, lr=0.0).loss
        losses += [before, 2 * both - before]
    assert len({round(loss, 5) for loss in losses}) == 4, "micro-batches or steps share a mask"


def test_dropout_keeps_the_right_share_and_mean():
    net = DropNet()
    step = step_of(net)
    dropout = step.dropouts[0]
    dropout.set_train(True)
    out = dropout(Tensor(np.ones((1000, 50), np.float32))).asnumpy()
    assert set(np.unique(out)) == {0.0, 2.0}
    assert abs((out > 0).mean() - 0.5) < 0.01
    assert abs((out[:, 1:] * out[:, :-1]).mean() - 1.0) < 0.03, "neighbours are correlated"
    dropout.set_train(False)
    assert dropout(Tensor(np.ones(3, np.float32))).asnumpy().tolist() == [1, 1, 1]


def test_a_compilation_in_mid_run_names_the_argument(caplog):
    step = step_of(SmallNet())
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


def test_a_curve_of_any_length_keeps_mean_and_extremes():
    values = np.random.default_rng(0).normal(size=5000).tolist()
    series = Series(100)
    for x, y in enumerate(values):
        series.add(x, y)
    bins = series.bins()
    assert 50 <= len(bins) <= 100 and series.width == 64
    points = [min(64, 5000 - 64 * k) for k in range(len(bins))]
    assert np.average([b[1] for b in bins], weights=points) == pytest.approx(np.mean(values))
    assert (min(b[2] for b in bins), max(b[3] for b in bins)) == (min(values), max(values))
    assert [b[0] for b in bins] == sorted(b[0] for b in bins)


def test_curves_that_grow_are_those_of_the_whole_files(tmp_path):
    metrics, curves = Metrics(tmp_path), Curves(tmp_path, "run")
    for number in range(1500):
        record = dict.fromkeys(("lr", "loss_scale", "images_per_s"), 1.0)
        record |= {"step": number, "epoch": 0, "loss": np.sin(number / 100), "step_ms": 1.0, "wait_ms": 0.5}
        metrics.write(record)
        curves.add_step(record)
    metrics.close()
    assert curves.write().read_text() == write_curves(tmp_path, "run").read_text()


def test_event_files_hold_the_scalars(tmp_path):
    events = open_events(tmp_path)
    events.add_scalar("loss", 1.25, 300)
    events.close()
    data, found = next(tmp_path.iterdir()).read_bytes(), []
    while data:  # records of TensorFlow: length, its checksum, message, its checksum
        (length,) = struct.unpack("<Q", data[:8])
        event = event_pb2.Event.FromString(data[12 : 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        data = data[16 + length :]
    assert found == [(300, "loss", 1.25)]


def test_events_without_tensorboardx_are_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match=r"needs tensorboardX; pip install 'cellwright\[tensorboard\]'"):
        check_tensorboard()


def test_statistics_are_what_norms_keep_and_no_frozen_weight():
    net = SmallNet()
    net.conv.weight.requires_grad = False
    net.norm.gamma.requires_grad = False
    step = step_of(net)
    assert [p.name for p in step.statistics] == ["norm.moving_mean", "norm.moving_variance"]
    assert [p.name for p in step.optimizer.params] == ["norm.beta", "head.weight", "head.bias"]


class Alone(Allreduce):
    def construct(self, x):
        return x


def test_the_variance_over_ranks_is_never_below_zero():
    net = synchronise_batch_norm(nn.SequentialCell([nn.BatchNorm2d(64, eps=1e-12)]), Alone(1))
    net.set_train(True)
    # Far from the moving mean and all alike: squares and the square of the mean differ by rounding alone.
    values = np.random.default_rng(0).uniform(1, 1000, (1, 64, 1, 1)).astype(np.float32)
    out = net(Tensor(np.tile(values, (3, 1, 5, 7)))).asnumpy()
    assert np.isfinite(out).all() and (net[0].moving_variance.asnumpy() >= 0).all()
