"""The arrows between the rooms: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("kernels", "dataloader", "nets", "engine", "launch")
# What each room, or floor of a room, may import of the project; a floor may import itself.
MAY_IMPORT = {
    "kernels/image": set(),
    "kernels/csrc": set(),
    "kernels/nodes": {"kernels/csrc"},
    "kernels/compiler": {"kernels/nodes", "kernels/csrc"},
    "dataloader/decode": {"kernels/image"},
    "dataloader/sources": {"kernels/image"},
    "dataloader/workers": set(),
    "dataloader": {"dataloader/*", "kernels/image"},
    "nets": set(),
    "engine/step": set(),
    "engine/storage": set(),
    "engine/debug": {"engine/step", "engine/storage"},
    "engine/loop": {"engine/debug", "engine/step", "engine/storage"},
    "engine/profiling": {"engine/loop", "engine/step"},
    "engine": {"engine/*"},
    "launch/host": set(),
    "launch/settings": {"launch/host"},
    "launch/bench": {"launch/host", "launch/settings", "launch"},
    "launch/speedrun": {"launch/bench", "launch/host", "launch/settings"},
    "launch/serving": {"launch/host", "launch/settings"},
    "launch": {"launch/host", "launch/settings", "launch/serving"},
}
MAY_IMPORT_ROOMS = {
    "kernels": set(),
    "dataloader": {"kernels"},
    "nets": set(),
    "engine": {"kernels"},
    "launch": {"kernels", "dataloader", "nets", "engine"},
}
MAY_IMPORT_HEAVY = {
    "kernels/image": set(),
    "kernels": {"mindspore", "mpi4py"},
    "dataloader": set(),
    "nets": {"mindspore"},
    "engine": {"mindspore"},
    "launch": {"mindspore", "mpi4py"},
}


def imports(path):
    """Every module that a file names in an import, at any depth."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module


def floor_of(path):
    """The longest name in MAY_IMPORT that a path, as its parts below the root, begins with."""
    return next((name for name in ("/".join(path[:2]), path[0]) if name in MAY_IMPORT), None)


def files():
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if not path.is_relative_to(ROOT / "kernels" / "graph"):  # the old names, for one release
                yield path


@pytest.mark.parametrize("path", list(files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_arrows_allow(path):
    parts = path.relative_to(ROOT).parts
    room, floor = parts[0], floor_of(parts[:-1]) or parts[0]
    for name in imports(path):
        package, *inner = name.split(".")
        assert package not in ROOMS, f"{name}: inside, everything imports by cellwright"
        if package in ("mindspore", "mpi4py"):
            allowed = MAY_IMPORT_HEAVY.get(floor, MAY_IMPORT_HEAVY[room])
            assert package in allowed, f"{path.relative_to(ROOT)} imports {name}"
        if package != "cellwright" or not inner:
            continue
        if inner[0] != room:
            assert inner[0] in MAY_IMPORT_ROOMS[room], f"{path.relative_to(ROOT)} imports {name}"
            if room == "engine" and not name.startswith("cellwright.kernels.image"):
                assert not _at_module_level(path, name), (
                    f"{path.relative_to(ROOT)}: {name} must be asked for, not loaded"
                )
            continue
        other = floor_of(inner) or inner[0]
        allowed = MAY_IMPORT.get(floor, set())
        assert other == floor or other in allowed or f"{room}/*" in allowed, f"{path.relative_to(ROOT)} imports {name}"


def _at_module_level(path, name):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return any(
        name in (getattr(node, "module", None), *[a.name for a in getattr(node, "names", [])]) for node in tree.body
    )


def loaded(statement):
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return {name.removeprefix("cellwright.").split(".")[0] for name in done.stdout.split()}


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
    assert not loaded(f"import cellwright.{room}") & absent


def test_importing_engine_changes_nothing_global():
    code = (
        "import os, threading, mindspore as ms, numpy as np\n"
        "def state():\n"
        "    return dict(os.environ), ms.get_context('mode'), ms.get_seed(), threading.active_count(),"
        " str(np.random.get_state()), len(os.listdir('/proc/self/task'))\n"
        "before = state()\n"
        "import cellwright.engine\n"
        "assert state() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


OLD_NAMES = {"kernels.graph": ("accelerate", "restore", "GraphKernel", "AllFinite", "MpiAllreduce", "bridge_available")}


@pytest.mark.parametrize("prefix", ["", "cellwright."])
@pytest.mark.parametrize("module", OLD_NAMES)
def test_old_names_work_for_one_release_and_say_so(prefix, module):
    code = (
        "import importlib, warnings\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        f"    old = importlib.import_module({prefix + module!r})\n"
        "from cellwright.kernels.compiler import accelerate\n"
        "assert old.accelerate is accelerate\n"
        f"assert all(hasattr(old, name) for name in {OLD_NAMES[module]!r})\n"
        "print(*{w.category.__name__ for w in caught if 'is now kernels.compiler' in str(w.message)})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "DeprecationWarning", done.stderr
