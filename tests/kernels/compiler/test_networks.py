"""The four networks are one program, with the instructions of any machine: at the size of their recipes and of small
images, whose last maps are smaller than a window.
"""

import all_instructions
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


@all_instructions.needs_avx512
def test_networks_with_all_instructions_of_this_machine():
    all_instructions.run("import test_networks as t\nfor each in t.NETWORKS: t.test_a_network_is_one_program(*each)")
