"""A network -> programs: trace, lower, schedule, memory, emit."""

from cellwright.kernels.compiler.accelerate import (
    accelerate,
    accelerated,
    cut_backward,
    explain,
    make_programs,
    program_keys,
    restore,
    store_in,
)

__all__ = [
    "accelerate",
    "accelerated",
    "cut_backward",
    "explain",
    "make_programs",
    "program_keys",
    "restore",
    "store_in",
]
