"""Kernels that run as nodes of a MindSpore graph: the bridge, whole networks as programs, and the allreduce over MPI."""

from kernels.graph.accelerate import accelerate, accelerated, restore
from kernels.graph.allreduce import MpiAllreduce, silence
from kernels.graph.bridge import BridgeMissing, bridge_available, set_threads
from kernels.graph.kernel import GraphKernel
from kernels.graph.momentum import AllFinite, MomentumStep

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
