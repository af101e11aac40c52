"""Concatenations along the channels: the parts are written side by side from the start, so nothing is done."""

from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.symbols import Untraceable


class Concatenation(Kind):
    name = "concat"

    def lower(self, tensors, layer, *values):
        views, parts = [tensors.plain(value) for value in values], []
        if any(view.stored.flat and layer.numbers["axis"] != 1 for view in views):
            raise Untraceable("a concatenation along the batch")
        for view in views:
            # What is a part already, of another concatenation or of this one, is copied.
            again = view.stored.whole is not None or view.stored in parts
            parts.append((tensors.copy(view) if again else view).stored)
        if len({(part.height, part.width, part.flat) for part in parts}) != 1:
            raise Untraceable("a concatenation of different sizes")
        odd = next((part.channels for part in parts if part.channels % tensors.lanes), None)
        if odd is not None:
            raise Untraceable(f"a concatenation of {odd} channels, no multiple of {tensors.lanes}")
        return tensors.store_whole(self, parts, flat=parts[0].flat)

    def forward(self, plan, stored):
        pass


CONCATENATION = Concatenation()


def _concat(trace, tensors, axis=0, **settings):
    if settings or axis not in (1, -3) or not isinstance(tensors, (tuple, list)):
        raise Untraceable(f"concatenation along axis {axis}")
    return trace.add(CONCATENATION, *tensors, numbers={"axis": axis})


FUNCTIONS = {"concat": _concat, "cat": _concat}
