"""The kinds of layers: one file each, with all that is known of it.

A file may have CELLS (class -> what reads a cell of exactly this class), NAMED_CELLS (the same, by the class's full
name), FUNCTIONS (what reads functions and methods of tensors, by name), PRIMITIVES (what reads operators, by class)
and COSTS (FLOPs and bytes of the operations that it plans, by their name in the table; see cost).
"""

from cellwright.kernels.compiler.layers import (
    activation,
    affine,
    avg_pool,
    concatenation,
    convolution,
    dense,
    depthwise,
    gate,
    gather,
    identity,
    input,
    max_pool,
    norm,
    pointwise,
    residual_sum,
)

_FILES = (
    activation,
    affine,
    avg_pool,
    concatenation,
    convolution,
    dense,
    depthwise,
    gate,
    gather,
    identity,
    input,
    max_pool,
    norm,
    pointwise,
    residual_sum,
)


def _all(name):
    return {key: value for file in _FILES for key, value in getattr(file, name, {}).items()}


CELLS, NAMED_CELLS, FUNCTIONS, PRIMITIVES, COSTS = map(
    _all, ("CELLS", "NAMED_CELLS", "FUNCTIONS", "PRIMITIVES", "COSTS")
)
INPUT = input.INPUT
