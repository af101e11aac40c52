"""Dropout in programs: the very masks of a step's own dropout, and masks with the right shares where nobody draws."""

import mindspore
import numpy as np
import pytest
from dropout_cells import Named, Other, between_dropouts, network
from mindspore import Tensor, nn
from small_cells import Weighted, conv, difference, fill, images, outcome

from cellwright.engine import Momentum, SoftmaxCrossEntropy, TrainOneStep
from cellwright.kernels.compiler import accelerate, accelerated
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


def test_a_program_has_the_masks_of_the_cell():
    stock, fast = between_dropouts(), between_dropouts()
    assert accelerated(accelerate(fast)) == [fast]
    distance, where = difference(outcome(stock, images(stock)), outcome(fast, images(fast)))
    assert distance < 1e-5, where


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_trains_as_with_stock_operators(accumulate):
    losses = []
    for prepare in (lambda cell: cell, accelerate):
        cell = network()
        fill(cell, 0)
        assert prepare(cell) is cell
        assert prepare is not accelerate or accelerated(cell) == [cell]
        optimizer = Momentum(cell.trainable_params())
        step = TrainOneStep(cell, SoftmaxCrossEntropy(5), optimizer, seed=3, accumulate=accumulate)
        draw = np.random.default_rng(1)
        reports = []
        for _ in range(3 * accumulate):
            labels = draw.integers(0, 5, 6).astype(np.int32)
            reports.append(step(draw.normal(size=(6, 3, 12, 12)).astype(np.float32), labels, lr=0.05))
        losses.append([report.loss for report in reports if report])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert len(set(losses[0])) == 3


def test_without_a_step_masks_have_their_share_and_are_the_same_on_the_way_back():
    cell = accelerate(nn.SequentialCell([conv(3, 8, 1), Named(0.25)]))
    fill(cell, 0)
    cell.set_train(True)
    x = Tensor(np.random.default_rng(2).normal(size=(8, 3, 24, 24)).astype(np.float32))
    first, second = cell(x).asnumpy(), cell(x).asnumpy()
    for found in (first, second):
        assert abs((found == 0).mean() - 0.25) < 0.02
    assert (first != second).any()
    cell.set_train(False)
    whole = cell(x).asnumpy()
    np.testing.assert_array_equal(first[first != 0], (whole * np.float32(4 / 3))[first != 0])
    cell.set_train(True)
    weights = Tensor(np.random.default_rng(3).normal(size=whole.shape).astype(np.float32))
    value, gradient = mindspore.value_and_grad(Weighted(cell, weights))(x)
    # Of a linear function both are of the same masks, or this does not hold.
    found = (gradient.asnumpy().astype(np.float64) * x.asnumpy()).sum()
    assert found == pytest.approx(float(value.asnumpy()), rel=1e-4)


def test_a_class_with_a_construct_of_its_own_is_no_dropout():
    stock, fast = (nn.SequentialCell([conv(3, 16, 3), Other(p=0.5), conv(16, 8, 3)]) for _ in range(2))
    accelerate(fast)
    distance, where = difference(outcome(stock, images(stock)), outcome(fast, images(fast)))
    assert distance < 1e-5, where
