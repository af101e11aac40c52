"""What this machine can do at best: the two roofs of the roofline."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cellwright.engine.profiling.triad import triad

_SIDE, _NUMBERS = 1536, 16 << 20


def measure_peaks(threads, seconds=0.4):
    """Returns {"gflops", "matmul_gflops", "gbytes", "threads"}, and perhaps "bfloat16_gflops": the best seen on this
    process's cores.

    gflops: float32 multiply-adds from registers (the matrix product's rate where there is no shim); matmul_gflops:
    numpy's matrix product, side 1536; gbytes: triad over three arrays of 64 MiB, one part a thread. Each for at least
    `seconds`. Under mpirun all ranks measure at the same time: they share the memory in training too.
    """
    draw = np.random.default_rng(0)
    a, b = (draw.random((_SIDE, _SIDE), np.float32) for _ in range(2))
    product = np.empty_like(a)
    fastest = _fastest(lambda: np.matmul(a, b, out=product), seconds)
    matmul = 2 * _SIDE**3 / fastest / 1e9
    arrays = [np.ones(_NUMBERS, np.float32) for _ in range(3)]
    edges = np.linspace(0, _NUMBERS, threads + 1).astype(int)
    parts = [[array[first:end] for array in arrays] for first, end in itertools.pairwise(edges)]
    triad(*(array[:1] for array in arrays), np.float32(3))
    with ThreadPoolExecutor(threads) as pool:
        fastest = _fastest(lambda: list(pool.map(lambda part: triad(*part, np.float32(3)), parts)), seconds)
    gbytes = 12 * _NUMBERS / fastest / 1e9
    return {
        "gflops": max(matmul, _multiply_adds(seconds)),
        "matmul_gflops": matmul,
        "gbytes": gbytes,
        "threads": threads,
        **_bfloat16(threads),
    }


def _multiply_adds(seconds):
    """GFLOP/s of multiply-adds from registers on the threads of the graph kernels, 0 without the shim."""
    from cellwright.kernels.csrc import shim_available
    from cellwright.kernels.nodes.clock import multiply_adds

    if not shim_available() or not multiply_adds(1):
        return 0.0
    rounds = 1 << 20
    return multiply_adds(rounds) / _fastest(lambda: multiply_adds(rounds), seconds) / 1e9


def _bfloat16(threads):
    """{"bfloat16_gflops": of a small convolution on one thread, times the threads}, where programs multiply it."""
    from cellwright.kernels.compiler import forms
    from cellwright.kernels.csrc import ShimMissing

    try:
        gflops = forms.gflops()
    except ShimMissing:
        return {}
    return {"bfloat16_gflops": gflops * threads} if gflops else {}


def _fastest(once, seconds):
    once()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or not times:
        began = time.perf_counter()
        once()
        times.append(time.perf_counter() - began)
    return min(times)
