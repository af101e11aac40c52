"""Gradients that are kept as factors: what is made of them, and what is refused."""

import ctypes

import all_instructions
import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn, ops

from cellwright.engine import Momentum, TrainOneStep
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.csrc.shim import shim
from cellwright.kernels.nodes import FactoredGradients

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


def gradient_node(x, dout, shape):
    """What the node leaves of a gradient of this shape, and its code."""
    out = np.full(shape, np.nan, np.float32)
    arrays = (x, dout, out)
    addresses = (ctypes.c_void_p * 3)(*(array.ctypes.data for array in arrays))
    shapes = [(ctypes.c_int64 * 2)(*array.shape) for array in arrays]
    pointers = (ctypes.POINTER(ctypes.c_int64) * 3)(*shapes)
    dtypes = (ctypes.c_char_p * 3)(*[b"float32"] * 3)
    code = shim()[1].cellwright_factored_gradient(
        3, addresses, (ctypes.c_int * 3)(2, 2, 2), pointers, dtypes, None, None
    )
    return out, code


def made(factors, place, count):
    to = np.full(count + 1, 7.0, np.float32)
    number = ctypes.c_int64
    held = shim()[1].cellwright_factored_make(
        *(ctypes.c_void_p(factors.ctypes.data), number(factors.size), number(place), number(count)),
        ctypes.c_void_p(to.ctypes.data),
    )
    assert to[-1] == 7.0
    return to[:-1] if held else None


def check(seed):
    draw = np.random.default_rng(seed)
    rows, lines, columns = int(draw.integers(1, 28)), 16 * int(draw.integers(4, 40)), 16 * int(draw.integers(4, 60))
    x, dout = (draw.normal(size=(rows, width)).astype(np.float32) for width in (columns, lines))
    x[draw.random(x.shape) < 0.5] = 0.0  # as behind a ReLU
    factors, code = gradient_node(x, dout, (lines, columns))
    assert code == 0
    whole = made(factors, 0, factors.size).reshape(lines, columns)
    expected = dout.astype(np.float64).T @ x.astype(np.float64)
    scale = np.abs(dout).astype(np.float64).T @ np.abs(x)
    assert (np.abs(whole - expected) <= 1e-6 * scale).all()
    stock = ops.MatMul(transpose_a=True)(Tensor(dout), Tensor(x)).asnumpy()
    assert whole.tobytes() == stock.tobytes()
    for _ in range(20):
        place = int(draw.integers(0, factors.size))
        count = int(draw.integers(1, factors.size - place + 1))
        assert made(factors, place, count).tobytes() == whole.ravel()[place : place + count].tobytes()


@pytest.mark.parametrize("seed", range(12))
def test_what_is_made_of_factors_is_the_framework_s_product_to_the_bit(seed):
    check(seed)


@all_instructions.needs_avx512
def test_what_is_made_of_factors_is_the_same_with_all_instructions_of_this_machine():
    all_instructions.run("import test_factored_gradient as t\nfor seed in range(12): t.check(seed)")


@pytest.mark.parametrize("shape", [(5, 7), (33, 75), (70, 129)])
def test_odd_sizes_are_right_too(shape):
    draw = np.random.default_rng(7)
    lines, columns = 40 + shape[0], 40 + shape[1]
    x, dout = draw.normal(size=(3, columns)).astype(np.float32), draw.normal(size=(3, lines)).astype(np.float32)
    whole = made(gradient_node(x, dout, (lines, columns))[0], 0, lines * columns)
    np.testing.assert_allclose(whole, (dout.T @ x).ravel(), rtol=1e-5, atol=1e-6)


def test_factors_that_have_no_room_and_what_holds_none_are_refused():
    x, dout = np.ones((9, 20), np.float32), np.ones((9, 20), np.float32)
    assert gradient_node(x, dout, (20, 20))[1] == 0, "16 numbers and 360 have room in 400"
    assert gradient_node(np.ones((10, 20), np.float32), np.ones((10, 20), np.float32), (20, 20))[1] == 72
    assert gradient_node(x, dout[:8], (20, 20))[1] == 72
    assert gradient_node(x, dout, (20, 21))[1] == 72
    assert made(np.ones((20, 20), np.float32), 0, 5) is None


class Layers(nn.Cell):
    """Dense layers: a large one, a small one, an odd one, two that have a weight in common, and a frozen one."""

    def __init__(self):
        super().__init__()
        self.large, self.small, self.odd = nn.Dense(80, 64), nn.Dense(16, 16), nn.Dense(80, 70)
        self.one, self.other, self.frozen = nn.Dense(80, 64), nn.Dense(80, 64), nn.Dense(80, 64)
        self.other.weight = self.one.weight
        self.frozen.weight.requires_grad = False

    def construct(self, x):
        return self.large(x)


def test_layers_are_taken_that_are_large_and_trained_and_have_a_weight_of_their_own():
    network = Layers()
    assert FactoredGradients(network, 4, least=1000).weights == [network.large.weight]
    assert FactoredGradients(network, 4).weights == []
    assert FactoredGradients(network, 17, least=1000).weights == [], "many images"


def test_a_network_computes_as_before_and_its_gradients_are_whole_elsewhere():
    network, x = Layers(), Tensor(np.random.default_rng(1).normal(size=(4, 80)).astype(np.float32))

    def square(x):
        return network(x).square().sum()

    def gradient():
        return ms.grad(square, None, ms.ParameterTuple([network.large.weight]))(x)[0].asnumpy()

    before = network(x).asnumpy(), gradient()
    with FactoredGradients(network, 4, least=1000).kept():
        np.testing.assert_array_equal(network(x).asnumpy(), before[0])
    after = network(x).asnumpy(), gradient()
    for one, other in zip(before, after):
        np.testing.assert_array_equal(one, other)


def test_a_step_whose_update_does_not_sum_keeps_whole_gradients():
    network = Layers()
    factored = FactoredGradients(network, 4, least=1000)
    optimizer = Momentum([network.large.weight], 0.9)

    def square(x):
        return network(x).square().mean()

    step = TrainOneStep(forward=square, network=network, optimizer=optimizer, factored=factored)
    x = np.random.default_rng(2).normal(size=(4, 80)).astype(np.float32)
    losses = [step(x, lr=0.1).loss for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]
