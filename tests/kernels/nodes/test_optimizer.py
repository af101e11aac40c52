"""The optimizer's nodes against the formulas in numpy."""

import numpy as np
import pytest
from mindspore import Tensor, mutable
from step_cells import SHAPES, AdamWCell, Finite, MomentumCell

from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


DECAYS = (0.01, 0.0, 0.01, 0.02, 0.0)
RATES = (1.0, 1.0, 0.5, 1.0, 2.0)


def steps(cell):
    """Three steps of a cell: yields (gradients times factor, learning rate, number) of each."""
    draw = np.random.default_rng(1)
    for step in range(3):
        gradients = [draw.normal(size=shape).astype(np.float32) for shape in SHAPES]
        lr, factor = 0.1 / (step + 1), 0.25
        tensors = mutable(tuple(Tensor(g) for g in gradients))
        cell(tensors, Tensor(np.float32(lr)), Tensor(np.float32(factor)), Tensor(np.float32(step + 1)))
        yield [factor * g.astype(np.float64) for g in gradients], lr, step + 1


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_moves_as_its_formula_says(nesterov):
    cell = MomentumCell(DECAYS, RATES, nesterov)
    p = [x.asnumpy().astype(np.float64) for x in cell.parameters]
    v = [np.zeros_like(x) for x in p]
    for gradients, lr, _ in steps(cell):
        for k, gradient in enumerate(gradients):
            own = gradient + DECAYS[k] * p[k]
            v[k] = 0.9 * v[k] + own
            p[k] -= lr * RATES[k] * (own + 0.9 * v[k] if nesterov else v[k])
    for expected, found in zip(p + v, [*cell.parameters, *cell.moments]):
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("inside", [False, True])
def test_adamw_moves_as_its_formula_says(inside):
    cell = AdamWCell(DECAYS, RATES, inside)
    p = [x.asnumpy().astype(np.float64) for x in cell.parameters]
    m, v = [np.zeros_like(x) for x in p], [np.zeros_like(x) for x in p]
    for gradients, lr, t in steps(cell):
        for k, gradient in enumerate(gradients):
            m[k] = 0.9 * m[k] + 0.1 * gradient
            v[k] = 0.999 * v[k] + 0.001 * gradient**2
            mean, spread = m[k] / (1 - 0.9**t), v[k] / (1 - 0.999**t)
            root = np.sqrt(spread + 1e-3) if inside else np.sqrt(spread) + 1e-3
            p[k] -= lr * RATES[k] * (mean / root + DECAYS[k] * p[k])
    for expected, found in zip(p + m + v, [*cell.parameters, *cell.moments, *cell.squares]):
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=2e-6, atol=1e-6)


def test_finite_finds_one_number_among_many():
    cell = Finite()
    # Scaled before the cast: NumPy 1 makes a float64 of a single float32 times a Python number.
    arrays = [(1e30 * np.random.default_rng(2).normal(size=shape)).astype(np.float32) for shape in SHAPES]
    assert cell(*map(Tensor, arrays)).asnumpy()
    for wrong in (np.nan, np.inf, -np.inf):
        for k, place in ((1, 39999), (3, 0), (2, 5)):
            changed = [array.copy() for array in arrays]
            changed[k].reshape(-1)[place] = wrong
            assert not cell(*map(Tensor, changed)).asnumpy()


def test_finite_says_what_it_cannot_look_at():
    with pytest.raises(TypeError, match=r"Float64\]: only float32"):
        Finite()(*(Tensor(np.ones(3, dtype)) for dtype in (np.float32, np.float64)))
