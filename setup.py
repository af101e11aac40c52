"""Builds the C shim that carries numba kernels into a MindSpore graph; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "kernels.graph._shim",
            [f"kernels/graph/{name}.c" for name in ("shim", "pool", "clock", "peak", "onednn", "program", "jobs", "blocked16", "blocked8", "shared", "background", "update")],
            depends=[f"kernels/graph/{name}" for name in ("pool.h", "clock.h", "onednn.h", "program.h", "blocked.inc", "window.inc")],
            extra_compile_args=["-O3", "-std=gnu11", "-fvisibility=hidden", "-Wno-psabi"],
            optional=True,  # no compiler: the stock ops take over, see kernels/graph
        )
    ]
)
