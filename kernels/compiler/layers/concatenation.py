"""Concatenations along the channels: the parts are written side by side from the start, so nothing is done."""

from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.symbols import Untraceable


class Concatenation(Kind):
    name = "concat"

    def lower(self, tensors, layer, *values):
        parts = [tensors.plain(value).stored for value in values]
        if len({(part.height, part.width, part.flat) for part in parts}) != 1:
            raise Untraceable("a concatenation of different sizes")
        for part in parts:
            if part.whole is not None or part.channels % tensors.lanes:
                raise Untraceable(f"a concatenation of {part.channels} channels, or of what is part of another one")
        return tensors.store_whole(self, parts, flat=parts[0].flat)

    def forward(self, plan, stored):
        pass


CONCATENATION = Concatenation()


def _concat(trace, tensors, axis=0, **settings):
    if settings or axis not in (1, -3) or not isinstance(tensors, (tuple, list)):
        raise Untraceable(f"concatenation along axis {axis}")
    return trace.add(CONCATENATION, *tensors, numbers={"axis": axis})


FUNCTIONS = {"concat": _concat, "cat": _concat}
