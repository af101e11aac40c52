"""Each example runs, from a project that has an engine, kernels and launch of its own, and stays short."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.fixture
def project(tmp_path):
    """A folder with the examples and with packages whose names are those of our rooms."""
    (tmp_path / "engine.py").write_text("raise ImportError('this engine is not yours')\n")
    for name in ("launch", "kernels", "nets", "dataloader"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('this {name} is not yours')\n")
    for name in EXAMPLES:
        (tmp_path / name).write_text((ROOT / "examples" / name).read_text())
    return tmp_path


def run(project, *command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "GLOG_v": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


ELSEWHERE = ("mpi_step.py", "pytorch_loader.py", "mindcv_network.py")


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name not in ELSEWHERE])
def test_an_example_runs_beside_an_engine_of_someone_elses(project, name):
    run(project, sys.executable, name)


def test_the_step_runs_under_mpirun_in_a_script_without_launch(project):
    mpirun = str(Path(sys.executable).parent / "mpirun")
    out = run(project, mpirun, "-n", "2", "--bind-to", "none", sys.executable, "mpi_step.py")
    assert sorted(re.findall(r"rank (\d) of 2: loss 0\.", out)) == ["0", "1"]


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_our_loader_feeds_pytorch(project):
    assert "loss" in run(project, sys.executable, "pytorch_loader.py")


@pytest.mark.skipif(importlib.util.find_spec("mindcv") is None, reason="MindCV is not installed (extra zoo)")
def test_mindcv_s_own_network_is_tuned_in_our_trainer(project):
    out = run(project, sys.executable, "mindcv_network.py")
    assert "head of 10 classes left out, this network has 3" in out and "20 norms are frozen" in out


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_short_and_is_listed(name):
    assert len((ROOT / "examples" / name).read_text().splitlines()) < 60
    assert f"`{name}`" in (ROOT / "examples" / "README.md").read_text()


def test_four_lines_make_the_plain_loop_ours(project):
    """The stock loop is the example without its lines marked "+", and with what stands behind a "-" on the right."""
    stock, changed = [], 0
    for line in (project / "plain_loop.py").read_text().splitlines():
        code, _, old = line.partition("  # - ")
        if line.endswith("  # +"):
            changed += 1
        elif old:
            changed += 1
            stock.append(f"{code.partition(' = ')[0]} = {old}")
        else:
            stock.append(line)
    assert changed == 4
    (project / "stock_loop.py").write_text("\n".join(stock) + "\n")
    run(project, sys.executable, "stock_loop.py")
