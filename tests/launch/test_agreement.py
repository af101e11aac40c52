"""Ranks that do not mean the same run are told so before it starts."""

import os
import subprocess
import sys
import time

import pytest
from runs import MPIRUN, ROOT

from cellwright.launch.host.agreement import agree, code
from cellwright.launch.host.mpi_world import World

TINY = ("-m", "cellwright.launch.train", "--net", "tinydarknet", "--batch_size", "8", "--image_size", "32")


class Ranks:
    """A world as rank 0 sees it, where the last of three ranks has something else."""

    def __init__(self, theirs):
        self.theirs, self.calls = theirs, 0

    def allgather_object(self, value):
        self.calls += 1
        if isinstance(value, str):
            return [value, value, "another"]
        return [value, value, ("node7", self.theirs)]


def test_one_rank_agrees_with_itself():
    agree(World(), settings={"lr": 0.1}, code=code())


def test_what_differs_is_named_with_the_rank_and_its_host():
    with pytest.raises(ValueError, match=r"code numpy is 1\.26\.4 on rank 0 \(\S+\) and absent on rank 2 \(node7\)"):
        agree(Ranks({"settings lr": "0.1"}), settings={"lr": 0.1}, code={"numpy": "1.26.4"})
    with pytest.raises(ValueError, match=r"settings lr is 0\.1 on rank 0 .* and 0\.2 on rank 2 .*\(and 1 more\)"):
        agree(Ranks({"settings lr": "0.2", "settings net": "b"}), settings={"lr": 0.1, "net": "a"})


def test_ranks_with_other_flags_end_at_once_with_a_line(tmp_path):
    one = [sys.executable, *TINY, "--run_dir", str(tmp_path / "run"), "--seed", "1"]
    two = [*one[:-1], "2"]
    began = time.monotonic()
    done = subprocess.run(
        [str(MPIRUN), "-n", "1", *one, ":", "-n", "1", *two],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2, done.stderr
    assert "run seed is 1 on rank 0" in done.stderr and "and 2 on rank 1" in done.stderr
    assert "Traceback" not in done.stderr and time.monotonic() - began < 200
    assert not list(tmp_path.rglob("*.ckpt"))
