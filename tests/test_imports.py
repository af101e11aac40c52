"""The arrows between the rooms: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("kernels", "dataloader", "nets", "engine", "launch")
# What each room may import of the project and of the heavy packages. kernels/graph is a room of its own.
MAY_IMPORT = {
    "kernels": set(),
    "kernels/graph": {"kernels", "mindspore", "mpi4py"},
    "dataloader": {"kernels"},
    "nets": {"mindspore"},
    "engine": {"kernels", "mindspore"},
    "launch": {"kernels", "dataloader", "nets", "engine", "mindspore", "mpi4py"},
}


def imports(path):
    """Every module that a file names in an import, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def files(room):
    for path in sorted((ROOT / room).rglob("*.py")):
        if room != "kernels" or "graph" not in path.parts:
            yield path


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_its_arrows_allow(room):
    watched = {*ROOMS, "mindspore", "mpi4py"}
    own = room.split("/")[0]
    for path in files(room):
        for name in imports(path):
            package = name.split(".")[0]
            if package in watched and package != own:
                assert package in MAY_IMPORT[room], f"{path.relative_to(ROOT)} imports {name}"
            if own == "engine" and name.startswith("kernels.graph"):
                assert not _at_module_level(path, name), f"{path.relative_to(ROOT)}: {name} must be asked for, not loaded"


def _at_module_level(path, name):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(name in (getattr(node, "module", None), *[a.name for a in getattr(node, "names", [])]) for node in tree.body)


def loaded(statement):
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "room, absent",
    [
        ("kernels", {"mindspore", "mpi4py", "dataloader", "engine", "nets", "launch"}),
        ("dataloader", {"mindspore", "mpi4py", "engine", "nets", "launch"}),
        ("nets", {"mpi4py", "kernels", "dataloader", "engine", "launch"}),
        ("engine", {"mpi4py", "dataloader", "nets", "launch"}),
        ("launch.train", {"mindspore", "mpi4py"}),
    ],
)
def test_importing_a_room_loads_nothing_beyond_its_arrows(room, absent):
    assert not loaded(f"import {room}") & absent


def test_importing_engine_changes_nothing_global():
    code = (
        "import os, threading, mindspore as ms, numpy as np\n"
        "def state():\n"
        "    return dict(os.environ), ms.get_context('mode'), ms.get_seed(), threading.active_count(),"
        " str(np.random.get_state()), len(os.listdir('/proc/self/task'))\n"
        "before = state()\n"
        "import engine\n"
        "assert state() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
