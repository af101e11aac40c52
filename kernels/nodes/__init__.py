"""Operators of a MindSpore graph on CPU: numba kernels, the allreduce over MPI, the optimizer, the finite check,
programs.
"""

from cellwright.kernels.nodes.allreduce import MpiAllreduce, silence
from cellwright.kernels.nodes.allreduce_base import Allreduce
from cellwright.kernels.nodes.factored_gradient import FactoredGradients
from cellwright.kernels.nodes.graph_kernel import GraphKernel
from cellwright.kernels.nodes.optimizer import AdamWStep, AllFinite, MomentumStep

__all__ = [
    "AdamWStep",
    "AllFinite",
    "Allreduce",
    "FactoredGradients",
    "GraphKernel",
    "MomentumStep",
    "MpiAllreduce",
    "silence",
]
