"""The old name of kernels.compiler, kernels.nodes and kernels.csrc, for one release."""

import warnings

from cellwright.kernels.compiler import accelerate, accelerated, restore
from cellwright.kernels.csrc import ShimMissing, set_threads, shim_available
from cellwright.kernels.nodes import AllFinite, GraphKernel, MomentumStep, MpiAllreduce, silence

BridgeMissing, bridge_available = ShimMissing, shim_available

__all__ = [
    "AllFinite",
    "BridgeMissing",
    "GraphKernel",
    "MomentumStep",
    "MpiAllreduce",
    "accelerate",
    "accelerated",
    "bridge_available",
    "restore",
    "set_threads",
    "silence",
]

warnings.warn(
    "kernels.graph is now kernels.compiler (accelerate), kernels.nodes (GraphKernel) and kernels.csrc (set_threads)",
    DeprecationWarning,
    stacklevel=2,
)
