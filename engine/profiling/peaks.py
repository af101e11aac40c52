"""What this machine can do at best: the two roofs of the roofline."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kernels.triad import triad

_SIDE, _NUMBERS = 1536, 16 << 20


def measure_peaks(threads, seconds=0.4):
    """Returns {"gflops", "gbytes", "threads"}: the best float32 matrix product and the best triad seen on this process's cores.

    The product is numpy's (side 1536), which is what BLAS reaches; the triad runs over three arrays of 64 MiB, one part a thread.
    Both for at least `seconds`. Under mpirun all ranks measure at the same time: they share the memory in training too.
    """
    draw = np.random.default_rng(0)
    a, b = (draw.random((_SIDE, _SIDE), np.float32) for _ in range(2))
    product = np.empty_like(a)
    fastest = _fastest(lambda: np.matmul(a, b, out=product), seconds)
    flops = 2 * _SIDE**3 / fastest
    arrays = [np.ones(_NUMBERS, np.float32) for _ in range(3)]
    edges = np.linspace(0, _NUMBERS, threads + 1).astype(int)
    parts = [[array[first:end] for array in arrays] for first, end in zip(edges[:-1], edges[1:])]
    triad(*(array[:1] for array in arrays), np.float32(3))
    with ThreadPoolExecutor(threads) as pool:
        fastest = _fastest(lambda: list(pool.map(lambda part: triad(*part, np.float32(3)), parts)), seconds)
    return {"gflops": flops / 1e9, "gbytes": 12 * _NUMBERS / fastest / 1e9, "threads": threads}


def _fastest(once, seconds):
    once()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or not times:
        began = time.perf_counter()
        once()
        times.append(time.perf_counter() - began)
    return min(times)
