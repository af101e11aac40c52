"""Kernels that run as nodes of a MindSpore graph: the bridge, and the allreduce over MPI."""

from kernels.graph.allreduce import MpiAllreduce
from kernels.graph.bridge import BridgeMissing, custom_op, bridge_available

__all__ = ["BridgeMissing", "MpiAllreduce", "bridge_available", "custom_op"]
