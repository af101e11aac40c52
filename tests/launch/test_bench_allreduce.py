"""The allreduce member of the bench: what it counts and what it models."""

import os
import signal
import subprocess
import sys
import time

import pytest
from job_process import ends, processes_of
from runs import ROOT

from cellwright.launch.bench import allreduce, hosts


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_what_a_rank_moves_through_main_memory_does_not_grow_with_the_ranks(ranks):
    settings = allreduce.Settings(megabytes=(1.5,), ranks=ranks, repeats=1, mccl=False)
    rows = {row["name"]: row["value"] for row in allreduce.measure(settings)["results"]}
    assert rows["1.5 MB: through main memory, a rank, counted"] == pytest.approx(2)
    assert rows["1.5 MB: through the shared cache, a rank, counted"] == pytest.approx(3 - 1 / ranks)
    assert all(rows[f"1.5 MB: {name}"] > 0 for name in (allreduce.IN_PLACE, allreduce.SHARED_NODE))


def test_the_model_is_bound_by_memory_or_by_a_core():
    slow_memory = allreduce.modelled(1e9, 2, 3, ranks=8, host=16e9, core=100e9)
    slow_core = allreduce.modelled(1e9, 2, 3, ranks=8, host=1e12, core=5e9)
    assert slow_memory == slow_core == pytest.approx(1)


def test_more_hosts_take_at_most_twice_as_long_as_two_on_a_link_of_one_speed():
    slow, fast = hosts.Settings(gbit=1), hosts.Settings(gbit=10, delay_us=1000)
    assert hosts.predicted(125e6, 2, slow) == pytest.approx(1.047, rel=0.01)  # 125 MB at 1 Gbit/s, and the headers
    two, many = hosts.predicted(125e6, 2, fast), hosts.predicted(125e6, 64, fast)
    assert two < many < 2 * two


def test_an_interpreter_without_torch_is_told_before_anything_is_measured(tmp_path):
    for torch in (tmp_path / "python", "false"):
        with pytest.raises(ValueError, match=f"--torch {torch}: no Python interpreter that has PyTorch"):
            hosts.Settings(torch=str(torch))


def test_a_measurement_that_is_told_to_end_takes_its_ranks_with_it(tmp_path):
    line = [sys.executable, "-m", "launch.bench", "allreduce", "--ranks", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RUN_MARK": str(tmp_path)}
    process = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while len(processes_of(tmp_path)) < 4:  # the bench, mpirun and two ranks
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert ends(process, tmp_path, limit=15)[0] == 128 + signal.SIGTERM
