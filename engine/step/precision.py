"""Mixed precision by hand: which cells compute in float16."""

import mindspore as ms
from mindspore import nn, ops

LEVELS = ("O0", "O2", "O3")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.SyncBatchNorm)


class InFloatType(nn.Cell):
    """Runs a cell in one float type within a network of another: casts what goes in and what comes out."""

    def __init__(self, cell, inside, outside):
        super().__init__(auto_prefix=False)
        self.inner = cell.to_float(inside)
        self.inside, self.outside = inside, outside

    def construct(self, x):
        return ops.cast(self.inner(ops.cast(x, self.inside)), self.outside)


def apply_precision(network, level, float32_cells=(), float16_cells=()):
    """Casts the network in place to an AMP level and returns it; its parameters stay float32.

    level: O0 float32. O2 float16, but normalisation in float32. O3 all float16. The loss is float32 at every level.
    float32_cells: cell classes that stay float32 at O2 and O3; float16_cells: classes that compute in float16 at O0.
    """
    if level not in LEVELS:
        raise ValueError(f"amp_level = {level!r}: must be one of {', '.join(LEVELS)}")
    if float16_cells and level != "O0":
        raise ValueError(f"float16_cells with amp_level = {level!r}: a list of float16 cells needs O0")
    if getattr(network, "precision", None) is not None:
        if network.precision != (level, float32_cells, float16_cells):
            raise ValueError(f"amp_level = {level!r}: the network was cast to {network.precision[0]} before")
        return network
    if level == "O0":
        wrap_cells(network, float16_cells, lambda cell: InFloatType(cell, ms.float16, ms.float32))
    else:
        network.to_float(ms.float16)
        kinds = tuple(float32_cells) + (_NORMS if level == "O2" else ())
        wrap_cells(network, kinds, lambda cell: InFloatType(cell, ms.float32, ms.float16))
    network.precision = (level, float32_cells, float16_cells)
    return network


def wrap_cells(network, kinds, wrap):
    """Replaces every cell of these classes within a network by wrap(cell), in place; parameters keep their names."""
    for name, cell in list(network.name_cells().items()):
        if isinstance(cell, tuple(kinds)):
            network._cells[name] = wrap(cell)
        else:
            wrap_cells(cell, kinds, wrap)
    if isinstance(network, nn.SequentialCell):
        network.cell_list = tuple(network._cells.values())
