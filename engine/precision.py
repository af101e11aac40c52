"""Mixed precision by hand: which cells compute in float16."""

import mindspore as ms
from mindspore import nn, ops

LEVELS = ("O0", "O2", "O3")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.SyncBatchNorm)


class Float32Island(nn.Cell):
    """Runs a cell in float32 within a float16 network: float16 in, float32 inside, float16 out."""

    def __init__(self, cell):
        super().__init__(auto_prefix=False)
        self.inner = cell.to_float(ms.float32)

    def construct(self, x):
        return ops.cast(self.inner(ops.cast(x, ms.float32)), ms.float16)


def _island_names(network, kinds):
    for name, cell in network.name_cells().items():
        if isinstance(cell, kinds):
            yield name, cell


def _wrap_islands(network, kinds):
    count = 0
    for name, cell in list(_island_names(network, kinds)):
        network._cells[name] = Float32Island(cell)
        count += 1
    for cell in network.name_cells().values():
        if not isinstance(cell, Float32Island):
            count += _wrap_islands(cell, kinds)
    if isinstance(network, nn.SequentialCell):
        network.cell_list = tuple(network._cells.values())
    return count


def apply_precision(network, level, float32_cells=()):
    """Casts the network in place to an AMP level and returns it; its parameters stay float32.

    level: O0 float32. O2 float16, but normalisation cells and `float32_cells` in float32. O3 all float16, but
    `float32_cells`. The loss is float32 at every level. float32_cells: cell classes.
    """
    if level not in LEVELS:
        raise ValueError(f"amp_level = {level!r}: must be one of {', '.join(LEVELS)}")
    if level == "O0" or getattr(network, "precision_level", None) == level:
        return network
    network.to_float(ms.float16)
    kinds = tuple(float32_cells) + (_NORMS if level == "O2" else ())
    if kinds:
        _wrap_islands(network, kinds)
    network.precision_level = level
    return network
