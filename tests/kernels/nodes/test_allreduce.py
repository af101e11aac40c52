"""The allreduce nodes under mpirun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellwright.kernels.csrc import shim_available

pytestmark = pytest.mark.skipif(not shim_available(), reason="the shim was not built")
HERE = Path(__file__).parent
ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parents[2]}",
}


@pytest.mark.parametrize("ranks", [2, 3])
def test_sums_are_right_and_alike_on_all_ranks(ranks):
    mpirun = str(Path(sys.executable).with_name("mpirun"))
    before = set(os.listdir("/dev/shm"))
    done = subprocess.run(
        [mpirun, "-n", str(ranks), "--bind-to", "none", sys.executable, str(HERE / "reduce_rank.py"), "mismatch"],
        env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("right") == ranks
    assert set(os.listdir("/dev/shm")) <= before
