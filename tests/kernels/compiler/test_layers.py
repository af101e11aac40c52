"""Each kind of layer in a program against the framework's own operators: results, all gradients, moving statistics."""

import pytest
from layer_cells import LAYERS
from small_cells import difference, images, outcome

from cellwright.kernels.compiler import accelerate, accelerated
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
TOLERANCE = 1e-5


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_agrees_with_the_stock_operators(name):
    stock, fast = LAYERS[name](), LAYERS[name]()
    x = images(stock)
    assert accelerated(accelerate(fast)) == [fast]
    distance, where = difference(outcome(stock, x), outcome(fast, x))
    assert distance < TOLERANCE, where
