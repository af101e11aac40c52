"""One name for all rooms, and the C shim that carries kernels into a MindSpore graph; the rest is in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

ROOMS = ("kernels", "dataloader", "nets", "engine", "launch")
packages = sorted(str(file.parent) for room in ROOMS for file in Path(room).rglob("__init__.py"))
sources = sorted(str(file) for file in Path("kernels/csrc").glob("*.c"))

setup(
    packages=["cellwright", *("cellwright." + folder.replace("/", ".") for folder in packages)],
    package_dir={
        "cellwright": "cellwright",
        **{"cellwright." + folder.replace("/", "."): folder for folder in packages},
    },
    ext_modules=[
        Extension(
            "cellwright.kernels.csrc._shim",
            sources,
            depends=[str(file) for pattern in ("*.h", "*.inc") for file in Path("kernels/csrc").glob(pattern)],
            extra_compile_args=["-O3", "-std=gnu11", "-fvisibility=hidden", "-Wno-psabi"],
            optional=True,  # no compiler: the stock ops take over, see kernels/csrc/shim.py
        )
    ],
)
