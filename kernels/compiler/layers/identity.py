"""Cells that do nothing."""

from mindspore import nn

CELLS = {nn.Identity: lambda trace, cell, x: x}
CHANNELS_LAST = CELLS
