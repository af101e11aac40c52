"""Evaluation brings weights into the convolutions' layout when they have changed, and not for each batch."""

import numpy as np
import pytest
from mindspore import Tensor
from small_cells import SMALL, fill, images

from cellwright.kernels.compiler import accelerate
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.nodes.clock import Clock, program_plan

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
NAMES = ("residual", "gate over a gather", "conv 3x3 with bias, pad, odd channels")


def evaluate(network, x):
    return network.set_train(False)(Tensor(x)).asnumpy()


def jobs(clock):
    """Returns how often each job has run since the last call."""
    found = {}
    for event in clock.take():
        if event["list"] > 0:
            _, _, operations = program_plan(int(event["what"]))
            kind = operations[tuple(int(event[field]) for field in ("stage", "list", "index"))].kind
            found[kind] = found.get(kind, 0) + 1
    return found


@pytest.mark.parametrize("name", NAMES)
def test_weights_that_stay_are_brought_once(name):
    network = accelerate(SMALL[name]())
    x = images(network)
    fill(network, 3)
    with Clock() as clock:
        first = evaluate(network, x)
        before = jobs(clock)
        again = evaluate(network, x)
        after = jobs(clock)
    convolutions = sum(len(p.shape) == 4 for p in network.trainable_params())
    assert before["reorder (job)"] > 0 and before["unchanged (job)"] >= convolutions
    assert not {"reorder (job)", "import (job)", "fold (job)"} & set(after)
    norms = any(p.name.endswith("gamma") for p in network.trainable_params())
    assert norms == ("fold (job)" in before)  # into the convolutions before them
    assert after["unchanged (job)"] == before["unchanged (job)"]
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", NAMES)
def test_one_number_that_changes_counts(name):
    network, twin, stock = accelerate(SMALL[name]()), accelerate(SMALL[name]()), SMALL[name]()
    x = images(network)
    for own in (network, twin, stock):
        fill(own, 3)
    draw, before = np.random.default_rng(0), evaluate(network, x)
    for parameter, expected in zip(network.get_parameters(), stock.get_parameters()):
        values = parameter.asnumpy().copy()
        values.reshape(-1)[draw.integers(values.size)] += 2.0
        parameter.set_data(Tensor(values))
        expected.set_data(Tensor(values))
        found = evaluate(network, x)
        np.testing.assert_allclose(found, evaluate(stock, x), rtol=1e-3, atol=1e-4, err_msg=parameter.name)
        assert np.abs(found - before).max() > 1e-3, parameter.name
        before = found
        evaluate(twin, x)  # by the same program, with other weights
        np.testing.assert_array_equal(evaluate(network, x), found, err_msg=parameter.name)
