"""The optimizer's nodes against the formulas in numpy."""

import numpy as np
import pytest
from mindspore import Tensor, mutable
from step_cells import SHAPES, Finite, Optimizer

from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_moves_as_its_formula_says(nesterov):
    decayed = (True, False, True, True, False)
    cell = Optimizer(decayed, nesterov)
    parameters = [p.asnumpy().astype(np.float64) for p in cell.parameters]
    moments = [np.zeros_like(p) for p in parameters]
    draw = np.random.default_rng(1)
    for step in range(3):
        gradients = [draw.normal(size=shape).astype(np.float32) for shape in SHAPES]
        lr, factor = 0.1 / (step + 1), 0.25
        cell(
            mutable(tuple(Tensor(g) for g in gradients)),
            Tensor(lr, dtype=cell.parameters[0].dtype),
            Tensor(np.float32(factor)),
        )
        for k, gradient in enumerate(gradients):
            own = factor * gradient + (0.01 * parameters[k] if decayed[k] else 0)
            moments[k] = 0.9 * moments[k] + own
            parameters[k] -= lr * (own + 0.9 * moments[k] if nesterov else moments[k])
    for expected, found in zip(parameters + moments, [*cell.parameters, *cell.moments]):
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
