"""One name for all rooms, and the C shim that carries kernels into a MindSpore graph; the rest is in pyproject.toml."""

import shlex
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOMS = ("kernels", "dataloader", "nets", "engine", "launch")
packages = sorted(str(file.parent) for room in ROOMS for file in Path(room).rglob("__init__.py"))
sources = sorted(str(file) for file in Path("kernels/csrc").glob("*.c"))


class BuildShim(build_ext):
    """Builds the shim where there is a C compiler; where there is none, says so and goes on: stock operators take over.

    A shim that a compiler refuses fails the build.
    """

    def build_extensions(self):
        program = shlex.split(" ".join(self.compiler.compiler))[0]
        if shutil.which(program):
            return super().build_extensions()
        sys.stderr.write(
            f"cellwright: no C compiler ({program}): installed without its kernels, training runs on stock operators, "
            "two to four times slower; install gcc (Debian, Ubuntu: apt-get install gcc), then reinstall cellwright\n"
        )
        self.extensions = []


setup(
    packages=["cellwright", *("cellwright." + folder.replace("/", ".") for folder in packages)],
    package_dir={
        "cellwright": "cellwright",
        **{"cellwright." + folder.replace("/", "."): folder for folder in packages},
    },
    cmdclass={"build_ext": BuildShim},
    ext_modules=[
        Extension(
            "cellwright.kernels.csrc._shim",
            sources,
            depends=[str(file) for pattern in ("*.h", "*.inc") for file in Path("kernels/csrc").glob(pattern)],
            extra_compile_args=["-O3", "-std=gnu11", "-fvisibility=hidden", "-Wno-psabi"],
        )
    ],
)
