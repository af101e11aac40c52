"""A network -> programs: trace, lower, schedule, memory."""

from cellwright.kernels.compiler.accelerate import accelerate, accelerated, restore

__all__ = ["accelerate", "accelerated", "restore"]
