"""Optimizers against their formulas, MindSpore's among them; groups; state that goes on to the bit."""

import mindspore as ms
import numpy as np
import pytest
from any_forward import Line, data, gradient, squares
from mindspore import Tensor, nn

from cellwright.engine import AdamW, Checkpoints, Momentum, ParameterGroup, Position, TrainOneStep
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.nodes import AdamWStep, MomentumStep

needs_shim = pytest.mark.skipif(not shim_available(), reason="the C shim is not built")


def make_step(make_optimizer, **settings):
    network = Line()
    return TrainOneStep(forward=squares(network), optimizer=make_optimizer(network.trainable_params()), **settings)


@pytest.mark.parametrize("kernel", [None, pytest.param(AdamWStep, marks=needs_shim)])
@pytest.mark.parametrize("eps_place", ["outside", "inside"])
def test_adamw_follows_its_formula(kernel, eps_place):
    step = make_step(
        lambda params: AdamW(params, 0.8, 0.99, 0.1, 0.05, lambda name: True, eps_place=eps_place, kernel=kernel)
    )
    w = step.network.dense.weight.asnumpy().astype(np.float64)
    m = v = np.zeros_like(w)
    for t in range(1, 8):
        x, target = data(6, t)
        g = gradient(w, x, target)
        m, v = 0.8 * m + 0.2 * g, 0.99 * v + 0.01 * g**2
        mean, spread = m / (1 - 0.8**t), v / (1 - 0.99**t)
        w = w - 0.1 * (mean / (np.sqrt(spread) + 0.1 if eps_place == "outside" else np.sqrt(spread + 0.1)) + 0.05 * w)
        step(x, target, lr=0.1)
    np.testing.assert_allclose(step.network.dense.weight.asnumpy(), w, rtol=2e-5)


@pytest.mark.parametrize("kernel", [None, pytest.param(MomentumStep, marks=needs_shim)])
def test_groups_have_their_own_rate_and_decay(kernel):
    groups = [ParameterGroup("dense.*", lr_factor=0.25, weight_decay=0.5)]
    step = make_step(lambda params: Momentum(params, 0.0, 0.1, groups=groups, kernel=kernel))
    w, (x, target) = step.network.dense.weight.asnumpy().astype(np.float64), data(6)
    step(x, target, lr=0.4)
    expected = w - 0.4 * 0.25 * (gradient(w, x, target) + 0.5 * w)
    np.testing.assert_allclose(step.network.dense.weight.asnumpy(), expected, rtol=1e-5)


def test_groups_that_would_do_nothing_and_bad_numbers_are_refused():
    params = Line().trainable_params()
    with pytest.raises(ValueError, match="head.* holds no parameter"):
        Momentum(params, groups=[ParameterGroup("head.*")])
    with pytest.raises(ValueError, match="weight_decay = -1"):
        ParameterGroup("dense.*", weight_decay=-1.0)
    with pytest.raises(ValueError, match="eps_place = 'between'"):
        AdamW(params, eps_place="between")
    assert Momentum(params, weight_decay=lambda name: 0.25).decay == (0.25,)


def stock_with_groups(params):
    return nn.AdamWeightDecay([{"params": params, "lr": 0.01, "weight_decay": 0.1}], learning_rate=0.1)


@pytest.mark.parametrize(
    "make_optimizer, lr",
    [
        (lambda params: nn.Adam(params, learning_rate=0.05), 0.05),
        (lambda params: nn.Adam(params, learning_rate=0.05), None),
        (lambda params: nn.SGD(params, learning_rate=[0.1, 0.05, 0.02, 0.01], momentum=0.9), None),
        (stock_with_groups, None),
    ],
)
def test_mindspores_optimizers_train_as_in_its_own_loop_and_resume_to_the_bit(make_optimizer, lr, tmp_path):
    network = Line()
    optimizer = make_optimizer(network.trainable_params())
    plain = ms.value_and_grad(squares(network), None, optimizer.parameters, has_aux=True)
    for number in range(4):
        _, gradients = plain(*map(Tensor, data(6, number)))
        optimizer(gradients)
    straight, stopped, resumed = (make_step(make_optimizer) for _ in range(3))
    for number in range(4):
        straight(*data(6, number), lr=lr)
    for number in range(2):
        stopped(*data(6, number), lr=lr)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(stopped, Position(0, 2))
    checkpoints.restore(resumed)
    for number in range(2, 4):
        resumed(*data(6, number), lr=lr)
    for step in (straight, resumed):
        np.testing.assert_allclose(step.network.dense.weight.asnumpy(), network.dense.weight.asnumpy(), rtol=1e-6)
    for a, b in zip(straight.state_parameters(), resumed.state_parameters()):
        np.testing.assert_array_equal(a.asnumpy(), b.asnumpy(), err_msg=a.name)
    np.testing.assert_array_equal(straight.network.dense.weight.asnumpy(), resumed.network.dense.weight.asnumpy())


def test_a_rate_beside_a_schedule_and_a_second_loss_scale_are_refused():
    step = make_step(stock_with_groups)
    with pytest.raises(ValueError, match="lr = 0.1: this optimizer has a schedule or groups"):
        step(*data(6), lr=0.1)
    with pytest.raises(ValueError, match="loss_scale = 8"):
        make_step(lambda params: nn.SGD(params, learning_rate=0.1, loss_scale=8.0))
    with pytest.raises(TypeError, match="optimizer = float"):
        make_step(lambda params: 0.1)


@needs_shim
def test_adamw_of_one_node_resumes_to_the_bit_with_groups(tmp_path):
    def make(params):
        return AdamW(params, weight_decay=0.1, kernel=AdamWStep, groups=[ParameterGroup("dense.*", lr_factor=0.5)])

    straight, stopped, resumed = (make_step(make, loss_scale=4.0) for _ in range(3))
    for number in range(4):
        straight(*data(6, number), lr=0.1)
    for number in range(2):
        stopped(*data(6, number), lr=0.1)
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(stopped, Position(0, 2))
    checkpoints.restore(resumed)
    for number in range(2, 4):
        resumed(*data(6, number), lr=0.1)
    np.testing.assert_array_equal(straight.network.dense.weight.asnumpy(), resumed.network.dense.weight.asnumpy())
