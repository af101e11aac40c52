"""Two networks and two steps in one process: programs and threads are shared, and none disturbs the other."""

import os

import mindspore as ms
import numpy as np
import pytest
from small_net import ConvNet, images_and_labels, step_of

from cellwright.kernels.compiler import accelerate, accelerated
from cellwright.kernels.csrc import shim_available
from cellwright.kernels.nodes.program import plans

needs_shim = pytest.mark.skipif(not shim_available(), reason="the C shim is not built")


def network_of(seed, prefix=""):
    """A network that is one program, with weights by seed."""
    network = ConvNet()
    for parameter in network.trainable_params():
        draw = np.random.default_rng([seed, *parameter.name.encode()])
        parameter.set_data(ms.Tensor(draw.normal(0, 0.3, parameter.shape).astype(np.float32)))
    if prefix:
        network.update_parameters_name(prefix)
    return accelerate(network)


def values(network):
    return [parameter.asnumpy().copy() for parameter in network.get_parameters()]


def threads():
    return len(os.listdir("/proc/self/task"))


def take(step, number, size=8):
    return step(*images_and_labels(8, seed=number, size=size), lr=0.1).loss


@needs_shim
def test_networks_of_one_structure_share_programs_and_threads_and_end_in_the_bits_of_each_alone():
    alone, losses = [], []
    for seed in (1, 2):
        step = step_of(network_of(seed))
        losses.append([take(step, 10 * seed + number, size=8 + 2 * (number % 2)) for number in range(4)])
        alone.append(values(step.network))
    first = step_of(network_of(1))
    mixed = [[take(first, 10)], []]
    kept, running = len(plans), threads()
    second = step_of(network_of(2, "second."))
    assert accelerated(second.network)
    mixed[1].append(take(second, 20))
    assert len(plans) == kept, "the second network has programs of its own"
    assert threads() == running
    for number in range(1, 4):
        for seed, step in ((1, first), (2, second)):
            mixed[seed - 1].append(take(step, 10 * seed + number, size=8 + 2 * (number % 2)))
    assert mixed == losses
    for step, expected in ((first, alone[0]), (second, alone[1])):
        for found, value in zip(values(step.network), expected):
            np.testing.assert_array_equal(found, value)


@needs_shim
def test_a_network_is_frozen_and_thawed_between_its_steps():
    """First the head is tuned, then all of it, then the head again by the first step."""
    tuned, stock = network_of(1), ConvNet()
    for parameter, value in zip(stock.get_parameters(), values(tuned)):
        parameter.set_data(ms.Tensor(value))
    for network in (tuned, stock):
        network.set_train(True)
        body = [p for p in network.get_parameters() if p.requires_grad and not p.name.startswith("head.")]
        for turn, frozen in enumerate((True, False, True, False)):
            for parameter in body:
                parameter.requires_grad = not frozen
            network.body[1].set_train(not frozen)
            if turn == 0:
                head = step_of(network)
            if turn == 1:
                whole = step_of(network)
            before = values(network.body)
            for number in range(2):
                take(head if frozen else whole, 2 * turn + number)
            moved = [not np.array_equal(a, b) for a, b in zip(before, values(network.body))]
            assert any(moved) and (frozen or all(moved)), (turn, moved)
            if frozen:  # the other norm's statistics, and nothing else
                assert sum(moved) == 2
    for found, expected in zip(values(tuned), values(stock)):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@needs_shim
def test_the_way_back_skips_the_gradients_of_frozen_weights():
    found = []
    for frozen in ((), ("body.0.weight",), ("body.0.weight", "body.3.weight")):
        network, known = network_of(1), set(plans)
        for parameter in network.get_parameters():
            parameter.requires_grad = parameter.requires_grad and parameter.name not in frozen
        step = step_of(network)
        take(step, 0, size=6)  # of which there are no programs yet
        if frozen:
            assert not step.gradients_of(*images_and_labels(8)).keys() & set(frozen)
        operations = [op for key in plans.keys() - known for op in plans[key][2]().values()]
        found.append(sorted({op.layer for op in operations if op.kind == "weight_gradient"}))
    assert found == [["body.0", "body.3", "head"], ["body.3", "head"], ["head"]]
