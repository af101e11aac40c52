"""The hook for trackers: called with the numbers of the run's own files, and one that works without a network."""

from types import SimpleNamespace

import pytest

from cellwright.engine import EvalResult, LogTo


def drive(hook, steps=4, rank=0, averaged=None):
    trainer = SimpleNamespace(rank=rank, averaged_evaluation=averaged)
    names = ("loss", "lr", "loss_scale", "step_ms", "wait_ms", "images_per_s")
    for step in range(steps):
        hook.on_step(trainer, {"step": step, "epoch": 0, **{name: float(step) for name in names}})
    hook.on_evaluation(trainer, 1, EvalResult(8, 9, 10, 0.5))


def test_each_step_and_each_evaluation_is_one_call():
    calls = []
    drive(LogTo(calls.append, interval=2), averaged=EvalResult(9, 10, 10, 0.25))
    assert [call["step"] for call in calls] == [1, 3, 3]
    assert calls[1]["train/loss"] == 3.0 and calls[1]["train/images_per_s"] == 3.0
    assert calls[2] == {
        "step": 3, "epoch": 1, "eval/top1": 0.8, "eval/top5": 0.9, "eval/loss": 0.5,
        "eval_averaged/top1": 0.9, "eval_averaged/top5": 1.0, "eval_averaged/loss": 0.25,
    }  # fmt: skip


def test_other_ranks_are_silent_and_an_interval_is_checked():
    calls = []
    drive(LogTo(calls.append), rank=1)
    assert not calls
    with pytest.raises(ValueError, match="interval = 0"):
        LogTo(calls.append, interval=0)


def test_tensorboard_on_the_hook(tmp_path):
    writer = pytest.importorskip("tensorboardX").SummaryWriter(str(tmp_path))

    def log(numbers):
        for name in numbers.keys() - {"step", "epoch"}:
            writer.add_scalar(name, numbers[name], numbers["step"])

    drive(LogTo(log))
    writer.close()
    (events,) = tmp_path.iterdir()
    assert b"eval/top1" in events.read_bytes() and b"train/loss" in events.read_bytes()
