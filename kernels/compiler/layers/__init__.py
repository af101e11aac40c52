"""The kinds of layers: one file each, with all that is known of it.

A file may have CELLS (class -> what reads a cell of exactly this class), NAMED_CELLS (the same, by the class's full
name), CHANNELS_LAST (class -> what reads such a cell that is given (N, H, W, C), for the image in its usual axes),
FUNCTIONS (what reads functions and methods of tensors, by name), PRIMITIVES (what reads operators, by class) and COSTS
(FLOPs and bytes of the operations that it plans, by their name in the table; see cost).
"""

import importlib

from cellwright.kernels.compiler.layers import input

_NAMES = (
    "activation affine avg_pool cast channels concatenation convolution dense depthwise channel_scale dropout gate"
    " gather group_norm identity input max_pool norm paired pointwise prelu reshape residual_sum resize scale stack"
)
_FILES = [importlib.import_module(f"{__name__}.{name}") for name in _NAMES.split()]


def _all(name):
    return {key: value for file in _FILES for key, value in getattr(file, name, {}).items()}


CELLS, NAMED_CELLS, CHANNELS_LAST, FUNCTIONS, PRIMITIVES, COSTS = map(
    _all, ("CELLS", "NAMED_CELLS", "CHANNELS_LAST", "FUNCTIONS", "PRIMITIVES", "COSTS")
)
INPUT = input.INPUT
