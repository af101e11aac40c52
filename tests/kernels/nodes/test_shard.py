"""The update shared by the ranks of a host, under mpirun: bit by bit what each would make alone."""

from pathlib import Path

import pytest
from test_allreduce import run

from cellwright.kernels.csrc import shim_available

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(not shim_available(), reason="the shim was not built"),
]


@pytest.mark.parametrize("ranks, threads", [(2, 1), (3, 2), pytest.param(6, 3, marks=pytest.mark.slow)])
def test_shared_updates_have_the_bits_of_those_made_alone(ranks, threads):
    run(ranks, Path(__file__).parent / "shard_rank.py", threads)
