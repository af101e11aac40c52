import io
import json

import numpy as np
import pytest
from any_forward import Line, squares
from mindspore import nn
from small_net import NORMALISE, SmallNet, batches

from cellwright.engine import (
    Callback,
    Checkpoints,
    Evaluator,
    LossScale,
    MetricEvaluator,
    Momentum,
    Position,
    SoftmaxCrossEntropy,
    Trainer,
    TrainOneStep,
)

RATES = np.linspace(0.2, 0.0, 12, endpoint=False)


class Data:
    """Batches by epoch and start, like a loader."""

    def __init__(self, stop_at=None):
        self.stop_at = stop_at

    def __len__(self):
        return 4

    def epoch(self, number, start=0):
        for index, batch in enumerate(batches(4, 8, seed=number)):
            if (number, index) == self.stop_at:
                raise KeyboardInterrupt
            if index >= start:
                yield batch


def make(folder, data=None, recipe=None, **settings):
    net, loss = SmallNet(), SoftmaxCrossEntropy(10, 0.1)
    optimizer = Momentum(net.trainable_params(), 0.9, 1e-3)
    step = TrainOneStep(net, loss, optimizer, normalise=NORMALISE, loss_scale=LossScale.dynamic(window=3))
    checkpoints = Checkpoints(folder / "checkpoints", recipe=recipe or {"net": "small"}, keep=2)
    evaluator = Evaluator(net, loss, normalise=NORMALISE)
    stream = io.StringIO()
    trainer = Trainer(
        step,
        data or Data(),
        RATES,
        epochs=3,
        evaluator=evaluator,
        eval_batches=batches(2, 5, seed=99),
        checkpoints=checkpoints,
        folder=folder,
        stream=stream,
        **settings,
    )
    return trainer, stream


def state_of(step):
    return {p.name: p.asnumpy() for p in [*step.network.get_parameters(), *step.state_parameters()]}


def test_three_epochs_leave_metrics_evaluation_and_checkpoints(tmp_path):
    trainer, stream = make(tmp_path, log_interval=2)
    result = trainer.run()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(12))
    assert [record["lr"] for record in records] == pytest.approx(RATES.tolist())
    assert set(records[0]) == {
        "step",
        "epoch",
        "loss",
        "lr",
        "loss_scale",
        "step_ms",
        "wait_ms",
        "images_per_s",
    }
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 13
    assert json.loads((tmp_path / "eval.json").read_text())["total"] == result.total == 10
    names = [path.name for path in trainer.checkpoints.paths()]
    assert names[-2:] == ["e0002_b000000", "e0003_b000000"] and len(names) <= 3
    assert sum("images/s" in line for line in stream.getvalue().splitlines()) == 6


def test_resume_with_two_stops_ends_in_the_same_bits(tmp_path):
    straight, _ = make(tmp_path / "straight")
    straight.run()

    stopped, _ = make(tmp_path / "stopped", Data(stop_at=(1, 2)))
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    stopped.save()  # in mid-epoch
    assert stopped.position == Position(1, 2)
    second, _ = make(tmp_path / "stopped", Data(stop_at=(2, 1)))
    with pytest.raises(KeyboardInterrupt):
        second.run(second.checkpoints.restore(second.step))  # dies one step after the last checkpoint
    third, _ = make(tmp_path / "stopped")
    start = third.checkpoints.restore(third.step)
    assert start == Position(2, 0)
    third.run(start)

    expected, got = state_of(straight.step), state_of(third.step)
    assert expected.keys() == got.keys()
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name], err_msg=name)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("straight", "stopped")
    ]
    assert losses[0] == losses[1]


def test_another_recipe_is_refused(tmp_path):
    trainer, _ = make(tmp_path)
    trainer.save()
    other, _ = make(tmp_path, recipe={"net": "other"})
    with pytest.raises(ValueError, match="net = 'other'.*'small'"):
        other.checkpoints.restore(other.step)


def test_the_zoo_format_prints_the_lines_that_old_parsers_know(tmp_path):
    trainer, stream = make(tmp_path, log_format="zoo")
    trainer.run()
    text = stream.getvalue()
    import re

    assert len(re.findall(r"^epoch: \d+ step: 4, loss is \d+\.\d+$", text, re.M)) == 3
    found = re.findall(r"^epoch\[(\d+)\], iter\[(\d+)\], loss:\d+\.\d+, mean_fps:\d+\.\d\d imgs/sec$", text, re.M)
    assert found == [("0", "3"), ("1", "7"), ("2", "11")]
    assert len(re.findall(r"^after allreduce eval: top1_correct=\d+, tot=10, acc=\d+\.\d\d%$", text, re.M)) == 3


def test_a_clock_that_has_run_out_writes_a_checkpoint_in_mid_epoch(tmp_path):
    trainer, _ = make(tmp_path, checkpoint_minutes=1e-9)
    saved = []
    save = trainer.checkpoints.save
    trainer.checkpoints.save = lambda step, position, **more: saved.append(position) or save(step, position, **more)
    trainer.run()
    assert saved[:5] == [Position(0, 1), Position(0, 2), Position(0, 3), Position(1, 0), Position(1, 1)]
    assert len(saved) == 12
    trainer, _ = make(tmp_path / "slow", checkpoint_minutes=10)
    trainer.run()
    assert all(path.name.endswith("b000000") for path in trainer.checkpoints.paths())


class Told(Callback):
    def __init__(self):
        self.calls = []

    def on_step(self, trainer, record):
        self.calls.append(f"step {record['step']} {float(trainer.report.aux['out'].asnumpy().sum()) == 0}")

    def on_epoch(self, trainer, epoch):
        self.calls.append(f"epoch {epoch}")

    def on_evaluation(self, trainer, epoch, result):
        self.calls.append(f"evaluation {result.values['error'] > 0}")

    def on_checkpoint(self, trainer, path):
        self.calls.append(path.name)


def test_any_forward_function_runs_in_the_trainer_with_callbacks_and_metrics(tmp_path):
    network, told = Line(), Told()
    forward = squares(network)
    step = TrainOneStep(forward=forward, optimizer=nn.Adam(network.trainable_params(), 0.1), accumulate=2)
    draw = np.random.default_rng(0)
    data = [[draw.normal(size=(n, 4)).astype(np.float32), np.ones((n, 1), np.float32)] for n in (4, 4, 2)]
    evaluator = MetricEvaluator(forward, {"error": lambda outputs, batch: outputs[1]["parts"][0]}, best="-error")
    trainer = Trainer(
        step,
        data,
        epochs=1,
        evaluator=evaluator,
        eval_batches=data,
        folder=tmp_path,
        checkpoints=Checkpoints(tmp_path / "checkpoints"),
        callbacks=[told],
        stream=io.StringIO(),
    )
    result = trainer.run()
    assert told.calls == ["step 0 False", "step 1 False", "evaluation True", "e0001_b000000", "epoch 0"]
    assert json.loads((tmp_path / "eval.json").read_text()) == result.values
    assert "error % of" not in (tmp_path / "curves.html").read_text()
    meta = json.loads((tmp_path / "checkpoints" / "e0001_b000000" / "meta.json").read_text())
    assert meta["metric"] == -result.values["error"] and meta["machine"]["mindspore_threads"] >= 1


def test_a_checkpoint_of_other_threads_says_so(tmp_path, caplog):
    trainer, _ = make(tmp_path)
    path = trainer.save()
    trainer.checkpoints.restore(trainer.step)
    assert "other threads" not in caplog.text
    meta = json.loads((path / "meta.json").read_text())
    meta["machine"] |= {"mindspore_threads": 99, "instruction_set": "sse"}
    (path / "meta.json").write_text(json.dumps(meta))
    trainer.checkpoints.restore(trainer.step)
    assert "mindspore_threads 99 -> " in caplog.text and "instruction_set sse -> " in caplog.text
