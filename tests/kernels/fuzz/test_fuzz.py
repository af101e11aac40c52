"""Random networks: what programs compute against an oracle in float64 and against the stock operators.

A failing seed is looked into by

    ONEDNN_MAX_CPU_ISA=DEFAULT python tests/kernels/fuzz/run.py SEED --threads 8 --chunk 4096 --minimise
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fuzz.check import check, distances
from fuzz.draw import NEWER, SEVERAL, draw_network
from fuzz.minimise import minimise
from fuzz.networks import Network, step
from fuzz.oracle import draw_values, outcome

from cellwright.kernels.csrc import shim_available

needs_shim = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
SMALL_CHUNK = 4096  # bytes: a few images of most networks here, so that later chunks run
# (threads, bytes of a chunk, instruction set): each is a process of its own
SETTINGS = [(1, 0, "AVX2"), (2, 0, "DEFAULT"), (3, SMALL_CHUNK, "AVX2"), (8, SMALL_CHUNK, "DEFAULT")]
SLOW_SETTINGS = [
    (threads, size, isa) for threads in (1, 2, 3, 8) for size in (0, SMALL_CHUNK) for isa in ("AVX2", "DEFAULT")
]
SLOW_FIRST, SLOW_COUNT, SLOW_NEWER = 10_000, 2_000, 400


def fuzz(first, last, threads, size, isa):
    """Returns the failures of the seeds from `first` to before `last`, and how many networks had programs."""
    failures, on_programs = [], 0
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    while first < last:
        line = [sys.executable, str(Path(__file__).with_name("run.py")), f"{first}:{last}"]
        line += ["--threads", str(threads), "--chunk", str(size)]
        done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
        lines = [json.loads(text) for text in done.stdout.splitlines() if text.startswith("{")]
        failures += [(found["failed"], found["wrong"]) for found in lines if "failed" in found]
        on_programs += sum(found.get("on programs", 0) for found in lines)
        if done.returncode == 0:
            break
        seeds = [found["seed"] for found in lines if "seed" in found]
        assert seeds, done.stderr[-2000:]
        failures.append((seeds[-1], f"the process ended with {done.returncode}: {done.stderr[-500:]}"))
        first = seeds[-1] + 1
    return failures, on_programs


def convolutional(first, last):
    """Returns how many of these seeds' networks have a convolution: without one nothing becomes a program."""
    steps = ((one.kind for block in draw_network(seed).blocks for one in block) for seed in range(first, last))
    return sum("conv" in kinds for kinds in steps)


@needs_shim
@pytest.mark.parametrize("position", range(len(SETTINGS)))
def test_random_networks(position):
    for start, count in ((0, 9), (NEWER, 2), (SEVERAL, 3)):
        first, last = start + count * position, start + count * (position + 1)
        failures, on_programs = fuzz(first, last, *SETTINGS[position])
        assert not failures
        assert on_programs > convolutional(first, last) / 2  # else next to nothing was tried


@needs_shim
@pytest.mark.slow
def test_thousands_of_random_networks():
    """Seeds 10,000 to 11,999, and 400 from 20,000 and 30,000 on, each shared among 16 settings: threads, chunks,
    instruction sets.
    """
    failures = {}
    for start, count in ((SLOW_FIRST, SLOW_COUNT), (NEWER, SLOW_NEWER), (SEVERAL, SLOW_NEWER)):
        share, total = count // len(SLOW_SETTINGS), 0
        for position, settings in enumerate(SLOW_SETTINGS):
            first = start + share * position
            found, on_programs = fuzz(first, first + share, *settings)
            total += on_programs
            failures |= {f"{settings}, seed {seed}": wrong for seed, wrong in found}
        assert total > convolutional(start, start + count) / 2
    assert not failures


def test_the_oracle_against_finite_differences():
    for seed in (2, 5, 8, 11):  # of the kind that has every layer
        network = draw_network(seed)
        values = draw_values(network)
        arrays = {name: array.astype(np.float64) for name, array in values.arrays.items()}
        expected = outcome(network, values)
        draw = np.random.default_rng(seed)

        def loss(name, direction, amount, network=network, values=values, arrays=arrays):
            moved = arrays | {name: arrays[name] + amount * direction}
            moved = type(values)(moved, values.weights, 0)
            return float((outcome(network, moved)["training 0"] * values.weights[0]).sum())

        for name in arrays:
            if "gradient of " + name not in expected:
                continue
            direction, amount = draw.normal(size=arrays[name].shape), 1e-7
            slope = (loss(name, direction, amount) - loss(name, direction, -amount)) / (2 * amount)
            gradient = expected["gradient of " + name]
            scale = np.linalg.norm(gradient) * np.linalg.norm(direction) + 1e-3
            assert abs(slope - (gradient * direction).sum()) / scale < 1e-4, (seed, name)


def test_the_stock_operators_pass():
    """The oracle's conventions are MindSpore's: padding, momentum, divisors."""
    failures = {seed: check(draw_network(seed), stock=True).wrong for seed in (2, 5, 7, 8, 11)}
    assert not any(failures.values()), failures


def test_a_seed_means_one_network():
    assert draw_network(17) == draw_network(17) != draw_network(18)


def test_a_failure_shrinks_to_its_cause():
    network = draw_network(20)
    while not any(one.kind == "concat" for block in network.blocks for one in block):
        network = draw_network(network.seed + 1)
    smallest = minimise(network, lambda n: any(one.kind == "concat" for block in n.blocks for one in block), limit=2000)
    assert smallest == Network((1, 1, 1, 1), ((step("concat", 0, 0),),), network.seed)


def test_a_wrong_gradient_is_far_and_rounding_is_near():
    network = Network((3, 4, 7, 7), ((step("conv", 0, channels=8, kernel=(3, 3)), step("norm", 1), step("act", 2)),), 1)
    values = draw_values(network)
    expected, rounded = outcome(network, values), outcome(network, values, np.float32)
    assert max(distances(expected, rounded).values()) < 1e-5
    rounded["gradient of b0.s0.weight"][0, 0, 0, 0] += 0.01 * np.linalg.norm(expected["gradient of b0.s0.weight"])
    assert distances(expected, rounded)["gradient of b0.s0.weight"] > 5e-3
