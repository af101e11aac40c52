"""What is installed: the source archive, the wheel built from it, its commands beside packages of the same names."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellwright.kernels.csrc import shim_available

ROOT = Path(__file__).parents[1]
ROOMS = ("kernels", "dataloader", "nets", "engine", "launch")
# Run by the installed interpreter: all of ours is loaded from the wheel, once, by the one name; theirs stays theirs.
IDENTITY = """
import sys
from pathlib import Path
import cellwright
home, by_file = Path(cellwright.__file__).parent, {}
assert not home.is_relative_to(SOURCE), home
for name, module in list(sys.modules.items()):
    file = getattr(module, "__file__", None)
    if file and name != "__main__" and Path(file).is_relative_to(home):
        assert by_file.setdefault(file, module) is module, f"{name} is a second copy of {file}"
        assert name.split(".")[0] == "cellwright", name
for room in ROOMS:
    assert __import__(room).NAME == "theirs"
assert sys.modules["cellwright.engine"].TrainOneStep is type(step), type(step)
print("one identity")
"""


def finished(line, cwd, timeout=600, **environment):
    """Returns the standard output of a command that must succeed, outside any checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    done = subprocess.run(
        [str(word) for word in line], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The source archive, built from what the repository tracks and from nothing that lies about beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    finished([sys.executable, "-c", build, folder / "dist"], folder)
    return next((folder / "dist").glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(archive):
    """The wheel, built from the source archive alone; its C without optimisation, which is sooner done."""
    folder, compiler = archive.parent / "wheel", archive.parent / "cc"
    compiler.write_text(f'#!/bin/sh\nexec {shutil.which("gcc") or shutil.which("cc")} "$@" -O0\n')
    compiler.chmod(0o755)
    options = ("--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", folder)
    environment = {"CC": str(compiler)} if shim_available() else {}
    finished([sys.executable, "-m", "pip", "wheel", *options, archive], archive.parent, **environment)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The bin folder of an environment that holds the wheel, and finds what it needs where these tests find it."""
    home = tmp_path_factory.mktemp("environment")
    finished([sys.executable, "-m", "venv", "--without-pip", home], home)
    # What is here already, cellwright included, must be neither seen nor touched: so before the .pth.
    options = ("--quiet", "--no-deps", "--no-index", "--ignore-installed")
    finished([sys.executable, "-m", "pip", "--python", home / "bin" / "python", "install", *options, wheel], home)
    (site,) = (home / "lib").glob("python3*/site-packages")
    heavy = [path for path in sys.path if path.endswith("site-packages")]
    (site / "heavy.pth").write_text("\n".join(heavy) + "\n")
    return home / "bin"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Somebody's folder: packages with the names of our rooms, and 64 images of two classes, 16 held back."""
    folder, draw = tmp_path_factory.mktemp("project"), np.random.default_rng(0)
    for room in ROOMS:
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text('NAME = "theirs"\n')
    for split, count in (("train", 32), ("val", 8)):
        for name in ("daisy", "tulip"):
            (folder / "data" / split / name).mkdir(parents=True)
            for k in range(count):
                pixels = draw.integers(0, 255, (40, 48, 3), np.uint8)
                cv2.imwrite(str(folder / "data" / split / name / f"{k}.jpg"), pixels)
    return folder


def test_the_kernels_are_built_wherever_there_is_a_compiler():
    assert shim_available() or not (shutil.which("gcc") or shutil.which("cc")), (
        "a C compiler is here, and the shim is not: every test that needs it was skipped; "
        "python setup.py build_ext --inplace says what is wrong"
    )


def test_the_archive_holds_what_the_build_needs(archive):
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    sources = {
        f"kernels/csrc/{path.name}" for path in (ROOT / "kernels/csrc").iterdir() if path.suffix in (".c", ".h", ".inc")
    }
    assert sources | {"LICENSE", "pyproject.toml", "setup.py", "README.md"} <= names


def test_the_wheel_holds_one_package_with_its_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (top_level,) = (archive.read(name).decode().split() for name in names if name.endswith("top_level.txt"))
    assert top_level == ["cellwright"]
    assert all(name.startswith(("cellwright/", "cellwright-")) for name in names)
    for folder in ("engine/profiling/page", "launch/fashion_mnist"):
        assert {f"cellwright/{folder}/{path.name}" for path in (ROOT / folder).iterdir()} <= names
    modules = {f"cellwright/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    assert modules <= names
    assert any("csrc/_shim" in name for name in names) == shim_available()
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_commands_train_and_evaluate_beside_packages_of_the_same_names(installed, project):
    flags = ("--net", "tinydarknet", "--data_path", project / "data", "--image_size", 32, "--batch_size", 8)
    cellwright = installed / "cellwright"
    finished([cellwright, "train", *flags, "--max_steps", 3, "--run_dir", "run"], project)
    assert len((project / "run" / "metrics.jsonl").read_text().splitlines()) == 3
    output = finished([cellwright, "eval", *flags[:4], "--ckpt", "run"], project)
    assert "16 images" in output and "top-1" in output


def test_the_readme_embeds_beside_packages_of_the_same_names(installed, project):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]
    assert not re.search(rf"^(from|import) ({'|'.join(ROOMS)})\b", example, re.MULTILINE), (
        "a wheel has cellwright alone"
    )
    assert len([line for line in example.splitlines() if line and not line.startswith(("import", "from"))]) <= 15
    # Small enough for a test: the quickest net, small images; the folder has 64, so an epoch is two steps.
    for long, short in (
        ("/data/flowers", "data"),
        ('"genet", extra=True, mlp=True', '"tinydarknet"'),
        ("image_size=64", "image_size=32"),
        ("EvalTransform(64)", "EvalTransform(32)"),
        ("range(10)", "range(1)"),
    ):
        assert long in example
        example = example.replace(long, short)
    identity = IDENTITY.replace("ROOMS", repr(ROOMS)).replace("SOURCE", repr(str(ROOT)))
    (project / "program.py").write_text(example + identity, encoding="utf-8")
    results, told = finished([installed / "python", "program.py"], project).splitlines()
    epoch, loss, top1 = results.split()
    assert told == "one identity" and epoch == "0" and 0 < float(loss) < 5 and 0 <= float(top1) <= 1
    assert (project / "flowers.ckpt").stat().st_size > 1e6


def test_the_console_script_lists_every_command(installed, project):
    output = finished([installed / "cellwright", "--help"], project)
    commands = {
        path.parent.name if path.stem == "__main__" else path.stem
        for path in [*(ROOT / "launch").glob("*.py"), *(ROOT / "launch").glob("*/__main__.py")]
        if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
    }
    listed = dict(re.findall(r"^  (\w+) +(\S.*)$", output, re.MULTILINE))
    assert listed.keys() == commands >= {"train", "eval", "export", "pack", "profile", "bench", "doctor"}
    done = subprocess.run([installed / "cellwright", "trian"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 2 and "'trian' is no command" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("compiler, fails", [("no-such-compiler", False), ("false", True)])
def test_no_compiler_is_a_line_and_a_broken_one_is_a_failure(tmp_path, compiler, fails):
    shutil.copytree(ROOT / "kernels" / "csrc", tmp_path / "kernels" / "csrc", ignore=shutil.ignore_patterns("*.so"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    line = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    environment = {**os.environ, "CC": compiler}
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode != 0) == fails, done.stderr
    said = [
        row for row in done.stderr.splitlines() if "no C compiler (no-such-compiler)" in row and "install gcc" in row
    ]
    assert len(said) == (not fails)
    assert not list(tmp_path.rglob("*.so"))


def test_a_tensor_times_a_number_outside_a_graph():
    """With a NumPy that MindSpore was not built for, the first such operation of a process fails, and no second."""
    code = "import mindspore as ms, numpy as np; print((0.5 * ms.Tensor(np.ones(3, np.float32))).asnumpy().tolist())"
    assert finished([sys.executable, "-c", code], ROOT).strip() == "[0.5, 0.5, 0.5]"
