import numpy as np
import pytest
from small_net import ConvNet, SmallNet, batches, images_and_labels, step_of

from cellwright.engine import LossScale, Momentum
from cellwright.kernels.compiler import accelerate, accelerated
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.nodes import AllFinite, MomentumStep


def everything(step):
    held = [*step.network.get_parameters(), *step.state_parameters()]
    return {p.name: p.asnumpy().copy() for p in held}


def test_the_loss_falls_on_one_batch():
    step = step_of(SmallNet())
    images, labels = images_and_labels(16)
    losses = [step(images, labels, lr=0.1).loss for _ in range(15)]
    assert losses[-1] < 0.9 * losses[0]


def test_overflow_moves_nothing_but_the_scale_and_training_goes_on():
    step = step_of(SmallNet(), loss_scale=LossScale.dynamic(init=1024, window=3))
    images, labels = images_and_labels(16)
    for _ in range(2):
        assert step(images, labels, lr=0.1).finite
    before = everything(step)
    bad = np.ones(16, np.float32)
    bad[3] = np.inf
    report = step(images, labels, bad, lr=0.1)
    assert not report.finite and report.loss_scale == 1024
    after = everything(step)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"loss_scale", "good_steps", "steps"}
    assert after["loss_scale"] == 512 and after["good_steps"] == 0
    for _ in range(3):
        assert step(images, labels, lr=0.1).finite
    assert everything(step)["loss_scale"] == 1024


@pytest.mark.skipif(not shim_available(), reason="the C shim is not built")
def test_overflow_moves_nothing_in_a_network_that_runs_as_one_kernel():
    net = accelerate(ConvNet())
    assert accelerated(net)
    optimizer = Momentum(net.trainable_params(), 0.9, kernel=MomentumStep)
    step = step_of(net, optimizer, loss_scale=1024, finite_kernel=AllFinite())
    images, labels = images_and_labels(16)
    states = []
    for number in range(5):
        weights = np.full(16, np.inf if number in (1, 3) else 1.0, np.float32)
        assert step(images, labels, weights, lr=0.1).finite == (number not in (1, 3))
        states.append(everything(step))
    for name in states[0]:
        for earlier, later, still in ((0, 1, True), (1, 2, False), (2, 3, True), (3, 4, False)):
            if name not in ("steps", "good_steps", "loss_scale"):
                assert np.array_equal(states[earlier][name], states[later][name]) == still, (name, later)


def test_scale_stays_within_floor_and_ceiling():
    step = step_of(SmallNet(), loss_scale=LossScale.dynamic(init=2, window=1, floor=2, ceiling=4))
    images, labels = images_and_labels(4)
    scales = [step(images, labels, lr=0.01).loss_scale for _ in range(4)]
    assert scales == [2, 4, 4, 4]
    bad = np.full(4, np.inf, np.float32)
    assert [step(images, labels, bad, lr=0.01).loss_scale for _ in range(4)] == [4, 2, 2, 2]


def test_fixed_scale_without_dropping_applies_the_overflow():
    step = step_of(SmallNet(), loss_scale=LossScale.fixed(1024, drop_overflow=False))
    images, labels = images_and_labels(4)
    assert not step(images, labels, np.full(4, np.inf, np.float32), lr=0.1).finite
    assert not np.isfinite(step.network.head.weight.asnumpy()).all()


def test_a_fixed_scale_of_a_power_of_two_changes_no_bit():
    results = []
    for scale in (None, 1024):
        step = step_of(SmallNet(), loss_scale=scale)
        for images, labels in batches(3, 8):
            step(images, labels, lr=0.1)
        results.append(step.network.head.weight.asnumpy())
    np.testing.assert_array_equal(*results)


def test_bad_settings_name_the_value():
    with pytest.raises(ValueError, match="amp_level = 'O5'"):
        step_of(SmallNet(), amp_level="O5")
    with pytest.raises(ValueError, match="loss scale = 0"):
        LossScale.fixed(0)
    with pytest.raises(ValueError, match="backoff = 1.5"):
        LossScale.dynamic(backoff=1.5)
