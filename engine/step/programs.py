"""The programs of a network that `kernels.compiler.accelerate` was given, where there is one."""

import sys

BACKWARD_PARTS = 4  # of the backward, where sums of early gradients are to start while later ones are computed


def loaded_compiler():
    """Returns the module `kernels.compiler`, or None where it is not loaded: nobody can have accelerated a network."""
    return sys.modules.get("cellwright.kernels.compiler")


def cut_backward(network, parts):
    """Lets the programs of the network give their gradients in so many parts, the last layers' first."""
    compiler = loaded_compiler()
    if compiler is not None:
        compiler.cut_backward(network, parts)


def program_keys(network):
    """Returns what names the programs of the network; a graph on disk is of use where all of them are the same."""
    compiler = loaded_compiler()
    return () if compiler is None else compiler.program_keys(network)


def make_programs(network):
    """Makes the programs of the network as it is now: a graph from the compile cache is not read again, and its nodes
    find programs by their keys alone.
    """
    compiler = loaded_compiler()
    if compiler is not None:
        compiler.make_programs(network)
