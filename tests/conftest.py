import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest

# Before MindSpore is loaded, as launch/host/runtime.py does it: see there.
os.environ.setdefault("GLOG_v", "3")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")

# mpirun refuses to run as root, or with more ranks than cores, without these.
os.environ["OMPI_ALLOW_RUN_AS_ROOT"] = os.environ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
os.environ["PRTE_MCA_rmaps_default_mapping_policy"] = ":oversubscribe"

sys.path.insert(0, str(Path(__file__).parent))  # shared_memory.py, numpy_tape.py

# A shell that starts the suite in the background has it ignore Ctrl-C, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


def _seed():
    """What a test draws without a generator of its own does not depend on the tests before it, or on their order."""
    np.random.seed(1)
    if "mindspore" in sys.modules:
        sys.modules["mindspore"].set_seed(1)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Where the tests keep what is kept from one start to the next: compiled graphs, the embedded images, listings."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(autouse=True, scope="module")
def seed_of_the_file():
    _seed()


@pytest.fixture(autouse=True)
def seed_of_the_test(seed_of_the_file):
    _seed()
