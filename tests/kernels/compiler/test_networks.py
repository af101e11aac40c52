"""The four networks are one program, with the instructions of any machine: at the size of their recipes and of small
images, whose last maps are smaller than a window.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellwright.kernels.compiler import accelerate, accelerated
from cellwright.kernels.csrc import shim_available
from cellwright.nets import create_network

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
GENETS = ((False, False), (True, False), (True, True))
NETWORKS = [
    *(("densenet121", size, {}) for size in (224, 32)),
    *(("tinydarknet", size, {}) for size in (224, 32)),
    *(("genet", size, {"extra": extra, "mlp": mlp}) for size in (224, 32) for extra, mlp in GENETS),
    ("vgg16", 32, {"batch_norm": True, "has_dropout": False, "hidden": 512}),
]


@pytest.mark.parametrize("name, size, settings", NETWORKS)
def test_a_network_is_one_program(name, size, settings):
    network = create_network(name, 10, size, **settings)
    assert accelerated(accelerate(network)) == [network]
    assert network.set_train().program_programs.output_shapes((2, 3, size, size)) == [[2, 10]]


def test_all_convolutions_of_vgg16_with_dropout_are_one_program():
    network = create_network("vgg16", 10, 224, has_dropout=True)
    assert accelerated(accelerate(network)) == [network.layers]


@pytest.mark.skipif("avx512f" not in Path("/proc/cpuinfo").read_text(), reason="this machine has no AVX-512")
def test_networks_with_all_instructions_of_this_machine():
    """The suite limits oneDNN to AVX2 for the framework's sake, so the wider kernels get a process of their own."""
    code = "import test_networks as t\nfor each in t.NETWORKS: t.test_a_network_is_one_program(*each)"
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": "DEFAULT"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=Path(__file__).parent, timeout=300)
