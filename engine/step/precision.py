"""Mixed precision: which cells compute in float16, or that programs store bfloat16."""

import mindspore as ms
from mindspore import nn, ops

from cellwright.engine.step.programs import loaded_compiler

LEVELS = ("O0", "O2", "O3")
DTYPES = ("auto", "float16", "bfloat16")
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.LayerNorm, nn.GroupNorm, nn.SyncBatchNorm)


class InFloatType(nn.Cell):
    """Runs a cell in one float type within a network of another: casts what goes in and what comes out."""

    def __init__(self, cell, inside, outside):
        super().__init__(auto_prefix=False)
        self.inner = cell.to_float(inside)
        self.inside, self.outside = inside, outside

    def construct(self, x):
        return ops.cast(self.inner(ops.cast(x, self.inside)), self.outside)


def half_type(network, level, dtype="auto"):
    """Returns what a network computes in at an AMP level: "float32", "float16" or "bfloat16".

    dtype: "auto" is bfloat16 where programs run the network or parts of it (`kernels.compiler.accelerate`), which is on
    CPU alone, and float16 elsewhere. ValueError for bfloat16 where there are none.
    """
    if level not in LEVELS:
        raise ValueError(f"amp_level = {level!r}: must be one of {', '.join(LEVELS)}")
    if dtype not in DTYPES:
        raise ValueError(f"amp_dtype = {dtype!r}: must be one of {', '.join(DTYPES)}")
    if level == "O0":
        if dtype != "auto":
            raise ValueError(f"amp_dtype = {dtype!r} with amp_level = 'O0': O0 is float32, bfloat16 needs O2 or O3")
        return "float32"
    if dtype == "auto":
        return "bfloat16" if _on_programs(network) else "float16"
    if dtype == "bfloat16" and not _on_programs(network):
        raise ValueError(
            "amp_dtype = 'bfloat16': no part of the network runs on programs (kernels.compiler.accelerate, on CPU), "
            "and stock operators have no bfloat16"
        )
    return dtype


def _on_programs(network):
    compiler = loaded_compiler()
    return compiler is not None and bool(compiler.accelerated(network))


def apply_precision(network, level, float32_cells=(), float16_cells=(), dtype="auto"):
    """Casts the network in place to an AMP level and returns it; its parameters stay float32.

    level: O0 float32. O2 float16, but normalisation in float32. O3 all float16. The loss is float32 at every level.
    float32_cells: cell classes that stay float32 at O2 and O3; float16_cells: classes that compute in float16 at O0.
    dtype: see `half_type`. In bfloat16, at O2 and O3 alike, programs store and multiply activations and their gradients
    in it, and take statistics, sums and coefficients of norms in float32; what they do not run stays float32.
    """
    half = half_type(network, level, dtype)
    if float16_cells and level != "O0":
        raise ValueError(f"float16_cells with amp_level = {level!r}: a list of float16 cells needs O0")
    wanted = level, half, float32_cells, float16_cells
    if getattr(network, "precision", None) is not None:
        if network.precision != wanted:
            before = f"{network.precision[0]} before, in {network.precision[1]}"
            raise ValueError(f"amp_level = {level!r}: the network was cast to {before}")
        return network
    if half == "bfloat16":
        loaded_compiler().store_in(network, half, float32_cells)
    elif level == "O0":
        wrap_cells(network, float16_cells, lambda cell: InFloatType(cell, ms.float16, ms.float32))
    else:
        network.to_float(ms.float16)
        kinds = tuple(float32_cells) + (_NORMS if level == "O2" else ())
        wrap_cells(network, kinds, lambda cell: InFloatType(cell, ms.float32, ms.float16))
    network.precision = wanted
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
