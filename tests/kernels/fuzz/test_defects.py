"""One test for each way in which programs were once found to compute something else than the network says."""

import subprocess
import sys

import numpy as np
import pytest
from fuzz.check import check, without_cost_rule
from fuzz.defect_cells import OTHER_CELLS, Between, InTraining, Twins, conv
from fuzz.draw import draw_network
from fuzz.networks import Network, step
from mindspore import Tensor, nn
from small_cells import difference, outcome

from cellwright.engine.step.precision import apply_precision
from cellwright.kernels.compiler import accelerate
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


@pytest.fixture(autouse=True)
def every_part():
    with without_cost_rule():
        yield


def conv3(source, channels, **settings):
    return step("conv", source, channels=channels, kernel=(3, 3), **settings)


def network(channels, *steps, images=3, size=9):
    return Network((images, channels, size, size), (steps,))


FEW_CHANNELS = {
    "3 to 6 to 16": network(3, conv3(0, 6), step("act", 1), conv3(2, 16)),
    "norm of 3 channels": network(3, step("norm", 0), conv3(1, 16)),
    "factors of 3 channels": network(3, step("factors", 0), conv3(1, 16)),
    "1 channel inside": network(8, conv3(0, 1), conv3(1, 8)),
    "5 channels pooled": network(
        16, conv3(0, 5), step("max_pool", 1, kernel=(2, 2), stride=(2, 2)), conv3(2, 9), step("norm", 3)
    ),
}
FROZEN = network(3, conv3(0, 16), step("norm", 1, mode="eval"), step("act", 2), conv3(3, 8), step("norm", 4))
ALWAYS = network(
    16, conv3(0, 16), step("norm", 1, mode="moving"), step("act", 2), conv3(3, 8), step("norm", 4, mode="batch")
)
DROPPED = network(16, conv3(0, 16), step("scale", 1, factor=0.5, training=True), conv3(2, 16), step("add", 3, 1))
UNUSED = {
    "a cell that is not called": network(16, conv3(0, 16), step("unused", 1, channels=8, bias=True), step("act", 2)),
    "a convolution of no use": network(16, conv3(0, 16), conv3(0, 8), step("act", 1)),
    "a norm of no use": network(16, conv3(0, 16), step("norm", 1), conv3(1, 16)),
    "an activation of no use": network(16, conv3(0, 16), step("act", 1), step("same", 1)),
    "a branch of no use": network(16, conv3(0, 16), conv3(1, 8), step("norm", 2), step("act", 3), conv3(1, 16)),
    "a convolution of whose result nothing is used": network(16, conv3(0, 16), step("norm", 1), conv3(0, 16)),
}
FLAT = step("mean", 1, keep=False)
FLAT_SHAPES = {
    "activation behind a mean": network(3, conv3(0, 16), FLAT, step("act", 2)),
    "activation behind a dense layer": network(3, conv3(0, 16), FLAT, step("dense", 2, channels=9), step("act", 3)),
    "sum of means": network(3, conv3(0, 16), FLAT, step("add", 2, 2)),
    "sum of dense layers": network(
        3, conv3(0, 16), FLAT, step("dense", 2, channels=8), step("dense", 2, channels=8), step("add", 3, 4)
    ),
    "concatenation of means": network(3, conv3(0, 16), FLAT, step("mean", 1, keep=False), step("concat", 2, 3)),
}
NORM_READ_TWICE = network(
    16, conv3(0, 24), step("norm", 1, momentum=0.5), step("act", 2), step("add", 2, 3), conv3(4, 8)
)
CONCATENATED = {
    "twice the same": network(1, step("conv", 0, channels=8), step("concat", 1, 1)),
    "three times": network(16, conv3(0, 16), step("concat", 1, 1, 1), conv3(2, 16)),
}
SHARED = {
    "behind its convolution": network(16, conv3(0, 16), step("concat", 1, 0)),
    "before its convolution": network(16, conv3(0, 16), step("concat", 0, 1), conv3(2, 8)),
    "behind a sum with it": network(16, conv3(0, 16), step("add", 1, 0), step("concat", 2, 1)),
    "in two": network(16, conv3(0, 16), conv3(0, 16), step("concat", 1, 2), conv3(1, 16), step("concat", 4, 1)),
    "and summed up": network(16, conv3(0, 16), conv3(1, 16), step("add", 1, 2), step("concat", 3, 2)),
}


@pytest.mark.parametrize("name", FEW_CHANNELS)
def test_convolutions_of_few_channels(name):
    assert not check(FEW_CHANNELS[name]).wrong


def test_several_norms_on_one_tensor_do_not_race():
    """Their gradients' coefficients were stored by one job and added to by another, on other threads."""
    ends = [step("norm", 1), step("norm", 1), step("norm", 1), step("add", 2, 3), step("add", 5, 4)]
    steps = conv3(0, 40), *ends
    # Seen in one of fifteen programs, the first time that it ran.
    assert not any(check(Network((2, 16, 5, 5), (steps,), seed)).wrong for seed in range(12))


def test_sums_that_cancel_keep_their_digits():
    """The gradient of a norm's gamma in front of another norm, all but nothing: its products were summed as float32."""
    assert not check(draw_network(10_147)).wrong


def test_what_is_asked_of_training_holds_in_both_modes():
    compared(lambda: Between(InTraining()))


def test_a_scale_in_training_alone():
    assert not check(DROPPED).wrong


def test_a_norm_set_to_evaluation_keeps_its_statistics():
    assert not check(FROZEN).wrong


def test_norms_with_use_batch_statistics():
    assert not check(ALWAYS).wrong


def compared(make, size=9, tolerance=1e-4):
    """Asserts that a network computes the same with programs and without."""
    x = np.random.default_rng(3).normal(size=(3, 3, size, size)).astype(np.float32)
    stock, fast = make(), make()
    accelerate(fast)
    distance, where = difference(outcome(stock, x), outcome(fast, x))
    assert distance < tolerance, where


@pytest.mark.parametrize("name", OTHER_CELLS)
def test_cells_of_known_names_that_do_something_else(name):
    compared(lambda: Between(OTHER_CELLS[name]()))


def output(cell, x):
    cell.set_train(False)
    return cell(Tensor(x)).asnumpy()


def test_a_cell_replaced_later_takes_part():
    """Before the network is compiled: a graph that is compiled keeps what it has, stock or not."""
    x = np.random.default_rng(3).normal(size=(3, 3, 9, 9)).astype(np.float32)
    fast = accelerate(nn.SequentialCell([conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 8)]))
    other = conv(16, 8)
    other.weight.set_data(Tensor(np.ones(other.weight.shape, np.float32)))
    fast[3] = other
    after = output(fast, x)
    assert np.abs(after).max() > 1e-3
    np.testing.assert_allclose(after[:, 0], after[:, 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", UNUSED)
def test_layers_of_no_use(name):
    assert not check(UNUSED[name]).wrong


@pytest.mark.parametrize("name", FLAT_SHAPES)
def test_shapes_behind_a_flat_mean(name):
    assert not check(FLAT_SHAPES[name]).wrong


def test_twins_with_the_way_back_in_several_nodes():
    x = np.random.default_rng(3).normal(size=(3, 3, 9, 9)).astype(np.float32)

    def make():
        return nn.SequentialCell([conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 8), nn.BatchNorm2d(8)])

    stock, fast = Twins(make(), make()), Twins(*(accelerate(make(), backward_parts=3) for _ in range(2)))
    distance, where = difference(outcome(stock, x), outcome(fast, x))
    assert distance < 1e-4, where


@pytest.mark.parametrize("level", ["O2", "O3"])
def test_half_precision_after_accelerate(level):
    x = np.random.default_rng(3).normal(size=(3, 3, 9, 9)).astype(np.float32)

    def make():
        return nn.SequentialCell([conv(3, 16), nn.BatchNorm2d(16), nn.ReLU(), conv(16, 8)])

    stock, fast = (apply_precision(network, level, dtype="float16") for network in (make(), accelerate(make())))
    distance, where = difference(outcome(stock, x), outcome(fast, x))
    assert distance < 0.05, where


def test_memory_of_many_shapes_does_not_grow():
    code = (
        "import gc, resource, numpy as np, mindspore\n"
        "from mindspore import Tensor, nn\n"
        "from cellwright.kernels.compiler import accelerate\n"
        "mindspore.set_context(mode=0, device_target='CPU')\n"
        "def rss(): return int(open('/proc/self/statm').read().split()[1]) * 4096\n"
        "def once(k):\n"
        "    cells = [nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 256 + k, 3)]\n"
        "    network = accelerate(nn.SequentialCell(cells)).set_train(False)\n"
        "    network(Tensor(np.zeros((4, 3, 64 + k, 64), np.float32))).asnumpy()\n"
        "for k in range(4): once(k)\n"
        "gc.collect(); before = rss()\n"
        "for k in range(4, 24): once(k)\n"
        "gc.collect(); print((rss() - before) / 20)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) < 1e6  # bytes a network; each has 15 MB of work


@pytest.mark.parametrize("name", CONCATENATED)
def test_a_tensor_concatenated_with_itself(name):
    assert not check(CONCATENATED[name]).wrong


def test_a_norm_that_is_read_with_and_without_an_activation():
    """Its statistics were moved twice, and the gradients of its parameters were those of one reader."""
    assert not check(NORM_READ_TWICE).wrong


@pytest.mark.parametrize("name", SHARED)
def test_a_concatenated_tensor_that_is_read_elsewhere_too(name):
    assert not check(SHARED[name]).wrong
