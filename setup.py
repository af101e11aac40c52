"""Builds the C shim that carries numba kernels into a MindSpore graph; everything else is in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "kernels.graph._shim",
            ["kernels/graph/shim.c"],
            extra_compile_args=["-O2", "-std=c11"],
            optional=True,  # no compiler: the stock ops take over, see kernels/graph
        )
    ]
)
