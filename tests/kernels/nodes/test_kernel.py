"""A reader's own numba kernels in the graph."""

import ctypes
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from float_mode import small_numbers_are_zero
from mindspore import Tensor, grad
from user_kernels import Swish, Total, WeightedRows, swish, weighted_rows

from cellwright.kernels.csrc import shim_available
from cellwright.kernels.csrc.shim import shim
from cellwright.kernels.nodes import GraphKernel

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


@pytest.mark.parametrize("shape", [(7,), (3, 5, 11), (1,)])
def test_result_and_gradient_are_those_of_numpy(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    cell = Swish()
    np.testing.assert_allclose(cell(Tensor(x)).asnumpy(), x * sigmoid(x), rtol=1e-6)
    expected = sigmoid(x) * (1 + x * (1 - sigmoid(x)))
    np.testing.assert_allclose(grad(cell)(Tensor(x)).asnumpy(), expected, rtol=1e-5, atol=1e-6)


def test_gradient_against_finite_differences():
    x = np.random.default_rng(1).normal(size=20).astype(np.float32)
    cell, step = Swish(), 1e-2
    slope = (cell(Tensor(x + step)).asnumpy() - cell(Tensor(x - step)).asnumpy()) / (2 * step)
    np.testing.assert_allclose(grad(cell)(Tensor(x)).asnumpy(), slope, atol=1e-3)


def test_several_inputs_and_outputs():
    x, weights = np.random.default_rng(2).normal(size=(9, 4)).astype(np.float32), np.arange(9, dtype=np.int32)
    sums, product = WeightedRows()(Tensor(x), Tensor(weights))
    np.testing.assert_allclose(product.asnumpy(), x * weights[:, None], rtol=1e-6)
    np.testing.assert_allclose(sums.asnumpy(), (x * weights[:, None]).sum(1), rtol=1e-5, atol=1e-6)


def test_a_wrong_shape_or_dtype_is_an_error():
    right = Tensor(np.zeros((2, 3), np.float32)), Tensor(np.zeros(2, np.int32))
    with pytest.raises((TypeError, RuntimeError), match="2 dimensions"):
        WeightedRows()(Tensor(np.zeros((2, 3, 1), np.float32)), right[1])
    with pytest.raises((TypeError, RuntimeError), match="not int32"):
        WeightedRows()(right[0], Tensor(np.zeros(2, np.float32)))
    for signature in ("float32 -> float32[:]", "float16[:] -> float32[:]", "-> float32[:]"):
        with pytest.raises(ValueError, match="signature"):
            GraphKernel(signature, swish)


def call_node(kernel, *arrays):
    """Calls the node of a GraphKernel as the graph does; returns its code."""
    node, count = getattr(shim()[1], kernel.pair.forward.func.split(":")[1]), len(arrays)
    shapes = [(ctypes.c_int64 * array.ndim)(*array.shape) for array in arrays]
    return node(
        count,
        (ctypes.c_void_p * count)(*(array.ctypes.data for array in arrays)),
        (ctypes.c_int * count)(*(array.ndim for array in arrays)),
        (ctypes.c_void_p * count)(*(ctypes.addressof(shape) for shape in shapes)),
        None, None, None,
    )  # fmt: skip


def test_calls_from_several_threads_at_once():
    kernel, failures = WeightedRows().kernel, []

    def call(seed):
        draw = np.random.default_rng(seed)
        arrays = [draw.normal(size=(500, 30)).astype(np.float32), draw.integers(0, 9, 500).astype(np.int32)]
        arrays += [np.empty(500, np.float32), np.empty((500, 30), np.float32)]
        for _ in range(100):
            arrays[3][:] = 0
            if call_node(kernel, *arrays) or not np.allclose(arrays[3], arrays[0] * arrays[1][:, None]):
                failures.append(seed)

    threads = [threading.Thread(target=call, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_small_numbers_are_no_zeros_whichever_thread_of_the_framework_runs_it():
    """A kernel in one piece runs on the thread that calls."""
    x, y = np.full(5, 1e-39, np.float32), np.zeros(5, np.float32)
    with small_numbers_are_zero():
        assert call_node(GraphKernel("float32[...] -> float32[...]", swish), x, y) == 0
    np.testing.assert_array_equal(y, x / 2)


def test_the_second_start_compiles_nothing(tmp_path):
    code = (
        "import numba.core.compiler as c, sys\n"
        "count = []; run = c.CompilerBase.compile_extra\n"
        "c.CompilerBase.compile_extra = lambda *a, **k: (count.append(1), run(*a, **k))[1]\n"
        "from user_kernels import Swish; Swish(); print('compiled', len(count))"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, capture_output=True, text=True
        )
        for _ in range(2)
    ]
    counts = [int(run.stdout.split()[-1]) for run in runs]
    assert counts[0] > 0 and counts[1] == 0, (counts, runs[0].stderr[-500:])


def test_the_kernel_is_the_function():
    x, weights = np.ones((3, 2), np.float32), np.array([1, 2, 3], np.int32)
    sums, product = np.empty(3, np.float32), np.empty((3, 2), np.float32)
    weighted_rows(x, weights, sums, product)
    found = WeightedRows()(Tensor(x), Tensor(weights))
    np.testing.assert_array_equal(found[0].asnumpy(), sums)


def test_a_missing_gradient_is_named():
    with pytest.raises((TypeError, RuntimeError), match="weighted_rows was given no gradient"):
        grad(Total())(Tensor(np.ones((2, 2), np.float32)), Tensor(np.ones(2, np.int32)))


def test_the_example_in_the_docs_is_the_one_that_is_tested():
    docs = (Path(__file__).parents[3] / "docs" / "kernels.md").read_text(encoding="utf-8")
    source = (Path(__file__).parent / "user_kernels.py").read_text(encoding="utf-8")
    example = docs.split("```python\n")[1].split("```")[0]
    assert source.split('"""\n\n', 1)[1].startswith(example)
    assert len([line for line in example.splitlines() if line]) <= 30
