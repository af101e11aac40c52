import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from small_net import SmallNet, images_and_labels, step_of

from cellwright.engine import Checkpoints, LossScale, Momentum, Position
from cellwright.engine.loop import checkpoint
from cellwright.engine.storage.atomic_folder import whole_folder
from cellwright.kernels.nodes import MomentumStep

HERE = Path(__file__).parent


class Two:
    """Rank 0 of a world of two, the other one with the same values."""

    rank, size = 0, 2

    def allreduce(self, array):
        return array

    def broadcast(self, array, root=0):
        return array


def test_weights_open_with_the_framework_under_the_networks_names(tmp_path):
    step = step_of(SmallNet())
    step(*images_and_labels(4), lr=0.1)
    path = Checkpoints(tmp_path).save(step, Position(1, 0))
    loaded = ms.load_checkpoint(str(path / "weights.ckpt"))
    assert loaded.keys() == step.network.parameters_dict().keys()
    for name, parameter in step.network.parameters_dict().items():
        np.testing.assert_array_equal(loaded[name].asnumpy(), parameter.asnumpy())


def test_the_newest_and_the_best_stay(tmp_path):
    checkpoints, step = Checkpoints(tmp_path, keep=2), step_of(SmallNet())
    for epoch, metric in enumerate([0.1, 0.9, 0.3, 0.2, None, 0.4]):
        checkpoints.save(step, Position(epoch, 0), metric=metric)
    assert [path.name for path in checkpoints.paths()] == ["e0001_b000000", "e0004_b000000", "e0005_b000000"]
    assert checkpoints.best().name == "e0001_b000000"
    assert sorted(os.listdir(tmp_path)) == [path.name for path in checkpoints.paths()]


@pytest.mark.parametrize("kernel", (None, MomentumStep), ids=("stock", "kernel"))
def test_a_step_that_has_gone_on_comes_back_to_the_bit(tmp_path, kernel):
    net = SmallNet()
    optimizer = Momentum(net.trainable_params(), 0.9, kernel=kernel)
    scale = LossScale.dynamic(init=1024, window=3)  # overflows are dropped: the update is a branch of the graph
    step = step_of(net, optimizer, loss_scale=scale, ema=0.9)

    def train(first):
        losses = [step(*images_and_labels(8, seed=seed), lr=0.1).loss for seed in range(first, first + 4)]
        return losses, [parameter.asnumpy().tobytes() for parameter in step.state_parameters()]

    checkpoints = Checkpoints(tmp_path)
    train(0)
    checkpoints.save(step, Position(1, 0))
    straight = train(4)
    assert checkpoints.restore(step) == Position(1, 0)
    assert train(4) == straight


def test_a_changed_byte_is_noticed(tmp_path):
    step = step_of(SmallNet())
    path = Checkpoints(tmp_path).save(step, Position(1, 0))
    data = bytearray((path / "state.safetensors").read_bytes())
    data[-1] ^= 1
    (path / "state.safetensors").write_bytes(data)
    with pytest.raises(OSError, match="state.safetensors is damaged"):
        Checkpoints(tmp_path).restore(step)


@pytest.mark.parametrize("left", [b"", b'{"format": 1, "ep', b"\xff\xfe", b"[]"])
def test_a_damaged_description_costs_that_checkpoint_and_no_other(tmp_path, left):
    step, checkpoints = step_of(SmallNet()), Checkpoints(tmp_path)
    whole = checkpoints.save(step, Position(1, 0), metric=0.5)
    damaged = checkpoints.save(step, Position(2, 0), metric=0.9)
    (damaged / "meta.json").write_bytes(left)
    assert checkpoints.latest_whole() == checkpoints.latest() == checkpoints.best() == whole
    assert checkpoints.restore(step) == Position(1, 0)
    checkpoints.save(step, Position(3, 0))


def test_another_network_is_refused_by_the_name_of_the_parameter(tmp_path):
    Checkpoints(tmp_path).save(step_of(SmallNet()), Position(1, 0))
    with pytest.raises(ValueError, match=r"conv.weight has shape \(7, 3, 3, 3\), but \(6, 3, 3, 3\) in"):
        Checkpoints(tmp_path).restore(step_of(SmallNet(channels=7)))


def test_another_rank_count_may_go_on_from_the_end_of_an_epoch_only(tmp_path):
    step = step_of(SmallNet())
    Checkpoints(tmp_path).save(step, Position(1, 0))
    assert Checkpoints(tmp_path, world=Two()).restore(step) == Position(1, 0)
    Checkpoints(tmp_path).save(step, Position(1, 3))
    with pytest.raises(ValueError, match="ranks = 2: .* in mid-epoch by 1 ranks"):
        Checkpoints(tmp_path, world=Two()).restore(step)


def test_no_checkpoint_is_none(tmp_path):
    assert Checkpoints(tmp_path).restore(step_of(SmallNet())) is None
    assert Checkpoints(tmp_path).latest() is None and Checkpoints(tmp_path).best() is None


def test_a_full_disk_is_told_and_leaves_the_older_ones_whole(tmp_path):
    checkpoints, step = Checkpoints(tmp_path), step_of(SmallNet())
    checkpoints.save(step, Position(1, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # no file may grow beyond: write fails as on a full disk
    try:
        with pytest.raises(OSError, match="e0002_b000000 was not written: .*older ones are whole"):
            checkpoints.save(step, Position(2, 0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["e0001_b000000"]
    assert checkpoints.restore(step) == Position(1, 0)


def test_kills_between_writing_and_forgetting_do_not_pile_up(tmp_path, monkeypatch):
    step = step_of(SmallNet())

    @contextlib.contextmanager
    def written_and_killed(path):
        with whole_folder(path) as folder:
            yield folder
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "whole_folder", written_and_killed)
    for epoch in range(1, 9):
        checkpoints = Checkpoints(tmp_path, keep=2)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.save(step, Position(epoch, 0))
        assert [checkpoint.read_meta(path)["epoch"] for path in checkpoints.paths()] == list(
            range(max(1, epoch - 2), epoch + 1)
        )


@pytest.mark.alone
def test_fifty_kills_at_random_moments_leave_the_last_good_one(tmp_path):
    done = subprocess.run(
        [sys.executable, str(HERE / "saver.py"), str(tmp_path), "50", "7"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.split()[-1]) >= 10, "hardly a checkpoint was written between the kills"
