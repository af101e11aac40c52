"""Programs of networks and parts that take or return several tensors, against the framework's own operators."""

import logging

import numpy as np
import pytest
from several_cells import (
    Auxiliary,
    Decoder,
    DensePyramid,
    Exchange,
    Merge,
    OfOtherKind,
    OfUnknown,
    Optional,
    Outside,
    PassedOn,
    Pyramid,
    Wide,
    WithNeck,
    images,
    outcome,
    without_graph,
)
from small_cells import difference

from cellwright.kernels.compiler import accelerate, accelerated, explain, replacement, restore, store_in
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
IMAGE = (3, 3, 12, 12)
NETWORKS = {
    "pyramid, tuple": (Pyramid, [IMAGE]),
    "pyramid, list": (lambda: Pyramid(as_list=True), [IMAGE]),
    "parts of a concatenation": (DensePyramid, [IMAGE]),
    "auxiliary head": (Auxiliary, [IMAGE]),
    "passed on": (PassedOn, [IMAGE]),
    "merge": (Merge, [(3, 16, 9, 9), (3, 24, 9, 9)]),
    "decoder": (Decoder, [(2, 32, 4, 4), (2, 16, 8, 8)]),
    "exchange": (Exchange, [(3, 16, 8, 8), (3, 32, 4, 4), (3, 1, 2, 2)]),
}


@pytest.fixture
def no_cost_rule(monkeypatch):
    for name in ("LEAST_FLOPS_A_NUMBER", "LEAST_FLOPS", "LEAST_LAYERS"):
        monkeypatch.setattr(replacement, name, 0)


def both(name):
    """Returns a stock network, the same one as a program, and what they are given."""
    make, shapes = NETWORKS[name]
    stock, fast = make(), accelerate(make())
    assert accelerated(fast) == [fast]
    return stock, fast, images(*shapes)


def compare(stock, fast, inputs, *settings):
    """Asserts that a network gives what stock operators do. settings: of `outcome`."""
    (wanted, kind), (found, own_kind) = without_graph(stock, inputs, *settings), outcome(fast, inputs, *settings)
    assert kind == own_kind
    distance, where = difference(wanted, found)
    assert distance < 1e-5, (where, distance)


@pytest.mark.parametrize("name", NETWORKS)
def test_results_and_gradients_are_those_of_stock_operators(no_cost_rule, name):
    stock, fast, inputs = both(name)
    compare(stock, fast, inputs)


def test_a_backward_in_parts(no_cost_rule):
    stock, _, inputs = both("exchange")
    compare(stock, accelerate(Exchange(), backward_parts=3), inputs)


@pytest.mark.parametrize("name, used", [("passed on", (1, 4)), ("auxiliary head", (0,))])
def test_an_output_that_nobody_uses_has_no_gradient(no_cost_rule, name, used):
    stock, fast, inputs = both(name)
    compare(stock, fast, inputs, used)


def test_gradients_of_an_evaluation(no_cost_rule):
    stock, fast, inputs = both("exchange")
    compare(stock, fast, inputs, None, False)


@pytest.mark.parametrize("name", ["exchange", "auxiliary head"])
def test_without_a_graph(no_cost_rule, name):
    stock, fast, inputs = both(name)
    distance, where = difference(without_graph(stock, inputs)[0], without_graph(fast, inputs)[0])
    assert distance < 1e-5, (where, distance)


def test_frozen_stages(no_cost_rule):
    stock, fast, inputs = both("pyramid, tuple")
    for network in (stock, fast):
        for parameter in (*network.stages[0].trainable_params(), *network.stages[2].trainable_params()):
            parameter.requires_grad = False
    compare(stock, fast, inputs)


def test_other_shapes_of_one_input_alone(no_cost_rule):
    stock, fast, _ = both("decoder")
    for size in (8, 6):
        inputs = images((2, 32, 4, 4), (2, 16, size, size))
        compare(stock, fast, inputs)


def test_bfloat16(no_cost_rule):
    _, fast, inputs = both("decoder")
    narrow = accelerate(Decoder())
    assert store_in(narrow, "bfloat16") == [narrow]
    (wide, _), (found, _) = outcome(fast, inputs), outcome(narrow, inputs)
    results = [name for name in wide if name.startswith(("evaluation", "training"))]
    for name in results:
        distance = np.linalg.norm(found[name] - wide[name]) / np.linalg.norm(wide[name])
        assert 1e-5 < distance < 1e-2, name


def test_parts_of_a_stock_network(no_cost_rule):
    stock, fast = Outside(), accelerate(Outside())
    assert {fast.pyramid, fast.merge} <= set(accelerated(fast))
    inputs = images((2, 3, 16, 16))
    compare(stock, fast, inputs)
    assert not accelerated(restore(fast))


def test_the_cost_rule_counts_all_that_goes_in_and_out():
    assert accelerated(accelerate(Wide(False)))
    network = accelerate(Wide(True))
    assert not accelerated(network)
    assert "too little to do" in explain(network, (2, 64, 12, 12)).parts[0].reason


@pytest.mark.parametrize(
    "network, shape, reason",
    [
        (OfOtherKind(lambda x: {"x": x}), IMAGE, "returns dict"),
        (OfOtherKind(lambda x: ((x, x), x)), IMAGE, "returns tuple"),
        (OfOtherKind(lambda x: (x, 1)), IMAGE, "returns int"),
        (OfUnknown(), [IMAGE, (3, 5, 4, 4)], "channels its inputs have is not known"),
    ],
)
def test_explain_says_why_a_network_is_stock(no_cost_rule, network, shape, reason):
    first = explain(network, shape).parts[0]
    assert not first.name and not first.replaced and reason in first.reason
    assert network not in accelerated(accelerate(network))


@pytest.mark.parametrize("loops", [False, True])
def test_a_part_that_takes_a_list_is_stock_and_explain_says_why(no_cost_rule, loops):
    stock, fast = WithNeck(loops), accelerate(WithNeck(loops))
    (neck,) = (part for part in explain(fast, IMAGE).parts if part.name == "neck")
    assert not neck.replaced and "a list of tensors" in neck.reason
    assert {fast.first, fast.second, *fast.neck.convs} <= set(accelerated(fast))
    compare(stock, fast, images(IMAGE))


def test_explain_takes_the_shapes_of_all_inputs(no_cost_rule):
    _, fast, inputs = both("decoder")
    assert explain(fast, [one.shape for one in inputs]).share == 1


def test_what_programs_do_not_take_is_for_the_stock_construct(no_cost_rule, caplog):
    stock, fast = Optional(), accelerate(Optional())
    assert accelerated(fast) == [fast]
    x, y = images(IMAGE, (3, 16, 12, 12))
    for inputs in ((x,), (x, y)):
        compare(stock, fast, inputs)
    stock, fast, (x, y) = both("merge")
    inputs = x, y[:, :, :1, :1]  # spread over the pixels
    with caplog.at_level(logging.WARNING, "cellwright.kernels"):
        compare(stock, fast, inputs)
    assert "different shapes" in caplog.text
