"""A network -> programs: trace, lower, schedule, memory, emit."""

from cellwright.kernels.compiler.accelerate import accelerate, accelerated, explain, restore, store_in

__all__ = ["accelerate", "accelerated", "explain", "restore", "store_in"]
