"""The [gpu] extra with folders of stand-ins: real shared libraries under the names of CUDA's."""

import subprocess
import sys
from pathlib import Path

import pytest

from cellwright.launch.host import device_findings as doctor_devices
from cellwright.launch.host.gpu_libraries import (
    DRIVER,
    LIBRARIES,
    library_folders,
    missing_libraries,
    use_gpu_libraries,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site-packages folder with a library of one function for each that the plugin wants, and a user of them all."""
    site = tmp_path_factory.mktemp("site-packages")
    source = site / "one.c"
    for number, (soname, (folder, _)) in enumerate(LIBRARIES.items()):
        lib = site / "nvidia" / folder / "lib"
        lib.mkdir(parents=True, exist_ok=True)
        source.write_text(f"int f{number}(void) {{ return {number}; }}\n")
        build = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{soname}", "-o", lib / soname, source]
        subprocess.run(build, check=True)
    calls = " + ".join(f"f{number}()" for number in range(len(LIBRARIES)))
    names = "".join(f"int f{number}(void);" for number in range(len(LIBRARIES)))
    source.write_text(f"{names} int all(void) {{ return {calls}; }}\n")
    needed = [site / "nvidia" / folder / "lib" / soname for soname, (folder, _) in LIBRARIES.items()]
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", site / "plugin.so", source, *needed], check=True)
    return site


PROGRAM = """
import ctypes, os, subprocess, sys
from pathlib import Path
from cellwright.launch.host.gpu_libraries import missing_libraries, use_gpu_libraries
site = Path(sys.argv[1])
try:
    ctypes.CDLL(str(site / "plugin.so"))
    sys.exit("the plugin found its libraries before")
except OSError:
    pass
os.environ["CUDA_HOME"] = "/usr/local/cuda-12"
print(len(use_gpu_libraries(site_folders=[site])))
print(ctypes.CDLL(str(site / "plugin.so")).all(), "CUDA_HOME" in os.environ, list(missing_libraries()))
print("not found" in subprocess.run(["ldd", site / "plugin.so"], capture_output=True, text=True).stdout)
"""


def test_a_library_that_needs_them_opens_in_this_very_process(site):
    done = subprocess.run([sys.executable, "-c", PROGRAM, site], cwd=ROOT, capture_output=True, text=True, check=True)
    count, opened, ldd = done.stdout.splitlines()
    assert int(count) == len(LIBRARIES)
    assert opened == f"{sum(range(len(LIBRARIES)))} False ['{DRIVER}']"
    assert ldd == "False"


def test_without_the_extra_nothing_changes(tmp_path):
    environment = {"CUDA_HOME": "/usr/local/cuda", "LD_LIBRARY_PATH": "/mine"}
    assert use_gpu_libraries(environment, [tmp_path]) == []
    assert environment == {"CUDA_HOME": "/usr/local/cuda", "LD_LIBRARY_PATH": "/mine"}


def test_a_package_is_taken_from_the_first_folder_that_has_it(site, tmp_path):
    (tmp_path / "nvidia" / "cudnn" / "lib").mkdir(parents=True)
    folders = library_folders([tmp_path, site])
    assert tmp_path / "nvidia" / "cudnn" / "lib" in folders and site / "nvidia" / "cudnn" / "lib" not in folders
    assert len(folders) == len({folder for folder, _ in LIBRARIES.values()})


def test_what_is_missing_is_named_with_its_package(monkeypatch):
    def only_cublas(name):
        if "cublas" not in name:
            raise OSError(name)

    missing = missing_libraries(only_cublas)
    assert missing["libcudnn.so.8"] == "nvidia-cudnn-cu11" and "libcublas.so.11" not in missing
    monkeypatch.setattr(doctor_devices, "missing_libraries", lambda: missing)
    monkeypatch.setattr(doctor_devices, "use_gpu_libraries", list)
    found = doctor_devices.check_gpu_libraries()
    assert [finding.level for finding in found] == ["FAIL", "FAIL"]
    assert "libcudnn.so.8" in found[0].what and "cellwright[gpu]" in found[0].fix
    assert "libcuda.so.1" in found[1].what and "driver" in found[1].fix


def test_the_extra_brings_every_package():
    text = (ROOT / "pyproject.toml").read_text()
    extra = text.split("gpu = [")[1].split("]")[0]
    for _, package in LIBRARIES.values():
        assert f'"{package}==' in extra
