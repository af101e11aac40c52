"""Programs against the framework's own operators: results, all gradients, moving statistics."""

import ctypes
import functools
import gc
import pickle
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import all_instructions
import numpy as np
import pytest
from layer_cells import LAYERS
from mindspore import Tensor, nn
from small_cells import SMALL, Head, conv, difference, fill, images, outcome

from cellwright.kernels.compiler import accelerate, accelerated, explain, replacement, restore
from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
# Where the sums of a norm almost cancel, the framework's own error is larger than the programs'.
TOLERANCE = 1e-5
CELLS = SMALL | LAYERS


@functools.cache
def outcome_of_stock(name):
    network = CELLS[name]()
    return outcome(network, images(network))


@pytest.mark.parametrize("name", CELLS)
def test_a_program_agrees_with_the_stock_operators(name):
    fast = CELLS[name]()
    names = [parameter.name for parameter in fast.get_parameters()]
    assert accelerate(fast) is fast
    assert accelerated(fast) == [fast]
    assert [parameter.name for parameter in fast.get_parameters()] == names
    distance, where = difference(outcome_of_stock(name), outcome(fast, images(fast)))
    assert distance < TOLERANCE, where


@pytest.mark.parametrize("frozen", (("weight", "gamma"), ("bias", "beta")))
@pytest.mark.parametrize("name", ("norm, leaky", "gate over the mean"))
def test_half_of_a_layer_may_be_frozen(name, frozen):
    stock, fast = SMALL[name](), SMALL[name]()
    for parameter in (*stock.trainable_params(), *fast.trainable_params()):
        parameter.requires_grad = not parameter.name.endswith(frozen)
    x = images(SMALL[name]())
    assert accelerated(accelerate(fast)) == [fast]
    distance, where = difference(outcome(stock, x), outcome(fast, x))
    assert distance < TOLERANCE, where


def test_a_gradient_that_cancels_leaves_less_than_the_stock_operators_leave():
    """A mean over all pixels of one image takes what a norm's input does out of the loss: its gradients are zero."""
    stock, fast = (
        nn.SequentialCell([conv(16, 256, 1), nn.BatchNorm2d(256, eps=1e-3), nn.BatchNorm2d(256), Head(256, 39)])
        for _ in range(2)
    )
    x = images(stock)[:1, :, :2, :2]
    assert accelerated(accelerate(fast)) == [fast]
    left = [np.linalg.norm(outcome(network, x)["gradient of 0.weight"]) for network in (stock, fast)]
    assert left[1] < left[0] / 2


def programs_of(network):
    """The ProgramSet that an accelerated cell runs in training."""
    return network.set_train().program_programs


@pytest.mark.parametrize("name, parts", [("norm, leaky", 2), ("dense block", 3), ("gate over a gather", 50)])
def test_a_way_back_in_several_nodes_gives_the_same_bits(name, parts):
    whole, cut = SMALL[name](), SMALL[name]()
    x = images(whole)
    accelerate(whole)
    programs = programs_of(accelerate(cut, backward_parts=parts))
    assert 1 < len(programs.parts) <= parts
    assert [p for part in reversed(programs.parts) for p in part] == programs.trainable
    expected, found = outcome(whole, x), outcome(cut, x)
    assert list(expected) == list(found)
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_parts_are_replaced_where_the_whole_cannot_be(monkeypatch):
    monkeypatch.setattr(replacement, "LEAST_FLOPS_A_NUMBER", 0)
    monkeypatch.setattr(replacement, "LEAST_FLOPS", 0)
    network = nn.SequentialCell([SMALL["norm, leaky"](), nn.ELU(), SMALL["residual"]().cell_list[1]])
    network[2] = nn.SequentialCell([nn.Conv2d(24, 24, 3, weight_init="normal"), nn.ReLU()])
    x = images(network)
    fill(network, 0)
    network.set_train(False)
    expected = network(Tensor(x)).asnumpy()
    accelerate(network)
    assert accelerated(network) == [network[0], network[2]]
    np.testing.assert_allclose(network(Tensor(x)).asnumpy(), expected, rtol=1e-4, atol=1e-5)


def test_a_part_that_would_lose_stays_stock_and_explain_says_so():
    cells = [
        nn.Conv2d(16, 16, 1),
        nn.ELU(),
        nn.SequentialCell([nn.Conv2d(16, 256, 3), nn.ReLU(), nn.Conv2d(256, 16, 3)]),
        nn.ELU(),
        nn.Conv2d(16, 256, 3),
    ]
    network = nn.SequentialCell(cells)
    before = explain(network, (2, 16, 12, 12))
    assert accelerated(accelerate(network)) == [network[2]]
    after = explain(network, (2, 16, 12, 12))
    assert before == after
    assert [part.replaced for part in after.parts] == [False, False, True, False, False]
    assert "too little to do" in after.parts[0].reason and "ELU" in after.parts[1].reason
    assert "too little to do" in after.parts[4].reason  # a convolution by itself, however large
    assert 0.6 < after.share < 0.7 and "stock" in str(after)


@pytest.mark.parametrize("cell", [nn.Conv2dTranspose(16, 16, 3), nn.ReLU(), nn.Dense(4, 4)])
def test_what_programs_do_not_know_stays(cell):
    kind = type(cell)
    assert accelerated(accelerate(nn.SequentialCell([cell]))) == []
    assert type(cell) is kind


def test_restore_brings_the_cells_back():
    network = SMALL["residual"]()
    classes = [type(cell) for cell in network.cells()]
    restore(accelerate(network))
    assert [type(cell) for cell in network.cells()] == classes
    assert type(network) is nn.SequentialCell
    assert accelerated(network) == []


def test_other_shapes_and_batches_of_one(name="residual"):
    stock, fast = SMALL[name](), accelerate(SMALL[name]())
    for count, size in ((1, 12), (3, 9)):
        x = images(stock, count, size)
        distance, where = difference(outcome(stock, x), outcome(fast, x))
        assert distance < 1e-4, (count, size, where)


def test_a_wrong_dtype_or_channel_count_is_an_error():
    network = accelerate(SMALL["conv 3x3 of images"]())
    network.set_train(False)
    with pytest.raises((TypeError, ValueError), match="float32"):
        network(Tensor(np.zeros((2, 3, 8, 8), np.float16)))
    with pytest.raises((TypeError, ValueError, RuntimeError), match="channels"):
        network(Tensor(np.zeros((2, 4, 8, 8), np.float32)))


def call_node(tensors):
    """Calls the node as the runtime does, with numpy arrays; returns its code."""
    shapes = [(ctypes.c_int64 * max(1, tensor.ndim))(*tensor.shape) for tensor in tensors]
    node = native.library().cellwright_program
    return node(
        len(tensors),
        (ctypes.c_void_p * len(tensors))(*(tensor.ctypes.data for tensor in tensors)),
        (ctypes.c_int * len(tensors))(*(tensor.ndim for tensor in tensors)),
        (ctypes.POINTER(ctypes.c_int64) * len(tensors))(
            *(ctypes.cast(s, ctypes.POINTER(ctypes.c_int64)) for s in shapes)
        ),
        (ctypes.c_char_p * len(tensors))(*(str(tensor.dtype).encode() for tensor in tensors)),
        None,
        None,
    )


def evaluation_tensors(network, x):
    """The tensors of a network's evaluation node, the result last."""
    network.set_train(False)
    key = network.program_node.key.asnumpy()
    parameters = [p.asnumpy() for group in programs_of(network).parameters for p in group]
    return [key, x, *parameters, np.zeros_like(network(Tensor(x)).asnumpy())]


def test_the_runtime_may_call_from_several_threads_at_once():
    calls = []
    for name in ("pools", "residual", "dense block"):
        network = accelerate(SMALL[name]())
        fill(network, 0)
        tensors = evaluation_tensors(network, images(network))
        assert call_node(tensors) == 0
        calls.append((network, tensors, tensors[-1].copy()))  # programs last as long as their network
    failures = []

    def call(_, tensors, expected):
        tensors = [*tensors[:-1], np.zeros_like(expected)]
        for _ in range(50):
            if call_node(tensors) or not np.array_equal(tensors[-1], expected):
                failures.append(expected.shape)

    threads = [threading.Thread(target=call, args=arguments) for arguments in calls + calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_node_refuses_tensors_that_it_was_not_planned_for():
    network = accelerate(SMALL["residual"]())
    tensors = evaluation_tensors(network, images(network))
    assert call_node(tensors) == 0
    assert call_node(tensors[:-1]) == 72
    for wrong in (tensors[2].astype(np.float64), tensors[2][:-1], tensors[2].astype(np.int32)):
        assert call_node([*tensors[:2], wrong, *tensors[3:]]) == 72
    assert call_node([np.array([12345]), *tensors[1:]]) == 73


def test_the_same_bits_every_time():
    network = accelerate(SMALL["gate over a gather"]())
    x = images(network)
    first, second = outcome(network, x), outcome(network, x)
    assert all(np.array_equal(first[name], second[name]) for name in first)


@all_instructions.needs_avx512
def test_programs_with_all_instructions_of_this_machine(tmp_path):
    stock = tmp_path / "stock"
    stock.write_bytes(pickle.dumps({name: outcome_of_stock(name) for name in SMALL}))
    code = "import pickle, test_programs as t\n"
    code += f"t.outcome_of_stock = pickle.load(open({str(stock)!r}, 'rb')).get\n"
    code += "for name in t.SMALL: t.test_a_program_agrees_with_the_stock_operators(name)"
    all_instructions.run(code)


def test_without_the_shim_networks_stay_and_it_is_said_once(tmp_path):
    code = (
        "import logging, pathlib; logging.basicConfig()\n"
        "exists = pathlib.Path.exists\n"
        "pathlib.Path.exists = lambda self, **k: '_shim' not in self.name and exists(self, **k)\n"
        "import numpy as np, mindspore\n"
        "from mindspore import Tensor\n"
        "from cellwright.kernels.compiler import accelerate, accelerated\n"
        "from cellwright.kernels.csrc import shim_available\n"
        "from small_cells import SMALL, images\n"
        "networks = [accelerate(SMALL[name]()) for name in ('pools', 'residual')]\n"
        "assert not shim_available() and not any(map(accelerated, networks))\n"
        "print(networks[0](Tensor(images(networks[0]))).shape)\n"
    )
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=here)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("stock operators are used") == 1


def test_a_network_that_nobody_holds_goes_away():
    network = accelerate(SMALL["residual"]())
    programs = weakref.ref(programs_of(network))
    del network
    gc.collect()
    assert programs() is None
