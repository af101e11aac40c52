"""Kernels that run as nodes of a MindSpore graph: the bridge, whole networks as programs, and the allreduce over MPI."""

from kernels.graph.accelerate import accelerate, accelerated, restore
from kernels.graph.allreduce import MpiAllreduce
from kernels.graph.bridge import BridgeMissing, bridge_available, custom_op

__all__ = ["BridgeMissing", "MpiAllreduce", "accelerate", "accelerated", "bridge_available", "custom_op", "restore"]
