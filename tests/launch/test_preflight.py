import subprocess
import sys
from pathlib import Path

import pytest

from cellwright.launch.host.preflight import missing

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path / ".venv")


def test_this_machine_will_do(folder):
    assert missing(folder, free_bytes=1e12) == []


@pytest.mark.parametrize("version", [(3, 9), (3, 13)])
def test_another_python_is_named(folder, version):
    assert missing(folder, version=version, free_bytes=1e12) == [
        f"Python is {version[0]}.{version[1]}: 3.10, 3.11 or 3.12 is needed; name one with `make PYTHON=python3.11 ...`"
    ]


def test_a_missing_compiler_is_named(folder):
    assert "no C compiler: install gcc" in missing(folder, which=lambda name: None, free_bytes=1e12)[0]


def test_too_small_a_disk_is_named(folder):
    assert missing(folder, free_bytes=2e9)[0].startswith("2.0 GB free in ")


def test_make_stops_before_it_installs_anything(tmp_path):
    for name in ("Makefile", "pyproject.toml", "setup.py"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "launch" / "host").mkdir(parents=True)
    (tmp_path / "launch" / "host" / "preflight.py").write_bytes(
        (ROOT / "launch" / "host" / "preflight.py").read_bytes()
    )
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("make", "sh", "cat", "cksum", "cut", "test"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=True).stdout.strip()
        (tools / name).symlink_to(found)
    run = subprocess.run(
        ["make", "test", f"PYTHON={sys.executable}"],
        cwd=tmp_path,
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    assert "cannot set up Cellwright: no C compiler" in run.stderr
    assert not (tmp_path / ".venv").exists()
