"""Weight gradients by pairs of images are those of numpy in float64, for windows, strides and images of any size."""

import ctypes

import numpy as np
import pytest
from test_bfloat16_operations import MACHINES, blocks_of, rounded, skip_without, widened

from cellwright.kernels.compiler.emit import packed
from cellwright.kernels.compiler.schedule import Entry, Ref
from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


def drawn(seed):
    """Returns images, channels, filters, and the numbers of a convolution."""
    draw = np.random.default_rng(seed)
    numbers = {"group": int(draw.integers(1, 4))}
    for axis, before in (("height", "top"), ("width", "left")):
        kernel, stride, dilation = (int(draw.integers(1, most)) for most in (6, 4, 3))
        reach = (kernel - 1) * dilation + 1
        size, padding = int(draw.integers(1, 14)), int(draw.integers(0, reach))
        size = max(size, reach - 2 * padding)
        numbers |= {f"kernel_{axis}": kernel, f"stride_{axis}": stride, f"dilation_{axis}": dilation}
        numbers |= {axis: size, before: padding, f"out_{axis}": (size + 2 * padding - reach) // stride + 1}
    return *(int(draw.integers(1, most)) for most in (6, 41, 81)), numbers


def expected(source, gradient, numbers):
    """The sums in float64. source (N, C, H, W), gradient (N, K, OH, OW)."""
    room = 80
    framed = np.pad(source.astype(np.float64), ((0, 0), (0, 0), (room, room), (room, room)))
    window = numbers["kernel_height"], numbers["kernel_width"]
    sums = np.empty((gradient.shape[1], source.shape[1], *window))
    for y, x in np.ndindex(window):
        cut = []
        for axis, at, place in (("height", "top", y), ("width", "left", x)):
            first, stride = room - numbers[at] + place * numbers[f"dilation_{axis}"], numbers[f"stride_{axis}"]
            cut.append(slice(first, first + (numbers[f"out_{axis}"] - 1) * stride + 1, stride))
        sums[:, :, y, x] = np.einsum("nchw,nkhw->kc", framed[:, :, cut[0], cut[1]], gradient)
    return sums


def run(source, gradient, numbers, lanes, storage):
    """The operation's sums of weights and bias; skips where this machine lacks the instructions."""
    tensors, blocks = {}, []
    for name, images in (("source", source), ("gradient", gradient)):
        rows = images.reshape(*images.shape[:2], -1).transpose(0, 2, 1)
        blocks.append(-(-images.shape[1] // lanes))
        tensors[name] = np.ascontiguousarray(rounded(blocks_of(rows, lanes, blocks[-1])))
    window = numbers["kernel_height"] * numbers["kernel_width"]
    shape = blocks[1], blocks[0], window, lanes, lanes
    pair = sum(array[0].size for array in tensors.values())
    tensors["sum"] = np.full(shape, np.nan, np.float32)
    tensors["bias_sum"] = np.full(blocks[1] * lanes, np.nan, np.float32)
    tensors["pairs"] = np.zeros(numbers["group"] * pair, np.uint32)
    count = len(source)
    places = {
        name: Ref(k, 0, array.nbytes // 4 // count if name in ("source", "gradient") else 0)
        for k, (name, array) in enumerate(tensors.items())
    }
    own = {"blocks": blocks[0], "filter_blocks": blocks[1]}
    operation = packed([Entry("op", "paired_weight_gradient", {**places, **numbers, **own})])
    pointers = (ctypes.c_void_p * len(tensors))(*(array.ctypes.data for array in tensors.values()))
    code = native.library().cellwright_operation(operation, pointers, count, lanes, storage)
    if code < 0:
        pytest.skip("this machine lacks the instructions")
    assert code == 0
    weights = tensors["sum"].transpose(0, 4, 1, 3, 2).reshape(blocks[1] * lanes, blocks[0] * lanes, window)
    weights = weights[: gradient.shape[1], : source.shape[1]]
    return weights.reshape(*weights.shape[:2], numbers["kernel_height"], -1), tensors["bias_sum"][: gradient.shape[1]]


@pytest.mark.parametrize("lanes, storage", MACHINES)
def test_the_sums_are_those_of_numpy(lanes, storage):
    skip_without(lanes)
    for seed in range(40):
        images, channels, filters, numbers = drawn(seed)
        draw = np.random.default_rng(seed)
        sizes = {"source": (channels, ""), "gradient": (filters, "out_")}
        source, gradient = (
            widened(rounded(draw.normal(size=(images, planes, numbers[f"{of}height"], numbers[f"{of}width"]))))
            for planes, of in sizes.values()
        )
        weights, bias = run(source, gradient, numbers, lanes, storage)
        for found, wanted in (
            (weights, expected(source, gradient, numbers)),
            (bias, gradient.astype(np.float64).sum((0, 2, 3))),
        ):
            assert np.linalg.norm(found - wanted) <= 2e-6 * np.linalg.norm(wanted), (seed, numbers)
