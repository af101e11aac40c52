"""Concatenations along the channels.

Parts that are whole blocks of channels are written side by side from the start, so nothing is done; others are copied.
"""

from cellwright.kernels.compiler.layers.channels import run
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.symbols import Untraceable


class Concatenation(Kind):
    name = "concat"
    same_size = True

    def channels(self, layer):
        channels = [source.channels for source in layer.inputs]
        return None if None in channels else sum(channels)

    def lower(self, tensors, layer, *values):
        views, parts = [tensors.tensor(value) for value in values], []
        if any(view.stored.flat and layer.numbers["axis"] != 1 for view in views):
            raise Untraceable("a concatenation along the batch")
        if len({(view.stored.height, view.stored.width, view.stored.flat) for view in views}) != 1:
            raise Untraceable("a concatenation of different sizes")
        if any(view.stored.channels % tensors.lanes for view in views):
            return COPIED.store(tensors, views)
        views = [tensors.plain(view) for view in views]
        for view in views:
            # What is a part already, of another concatenation or of this one, is copied.
            again = view.stored.whole is not None or view.stored in parts
            parts.append((tensors.copy(view) if again else view).stored)
        return tensors.store_whole(self, parts, flat=parts[0].flat)

    def forward(self, plan, stored):
        pass


class Copied(Kind):
    name = "concat"

    def store(self, tensors, views):
        """Returns the plain view of the result."""
        first = views[0].stored
        extents = sum(view.stored.channels for view in views), first.height, first.width
        return tensors.store(self, extents, views, flat=first.flat)

    def forward(self, plan, stored):
        for view in stored.sources:
            plan.arrays(view)  # may close the stage, which ends what is in scratch memory
        for view, begin in _begins(stored):
            numbers = {**run(0, view.stored.channels), "target_first": begin, "total": stored.channels, "add": 0}
            target = plan.place(stored)
            plan.operation("channels", source=plan.value(view), target=target, pixels=stored.pixels, **numbers)

    def backward(self, plan, stored):
        gradient = plan.ready(stored)
        for view, begin in _begins(stored):
            if not plan.needs(view):
                continue
            target, add = plan.target(view)
            channels = view.stored.channels
            numbers = {**run(begin, channels), "target_first": 0, "total": channels, "add": int(add)}
            plan.operation("channels", source=gradient, target=target, pixels=stored.pixels, **numbers)
            plan.done(view)


def _begins(stored):
    """Returns the sources with the channel at which each of them begins."""
    channels = [view.stored.channels for view in stored.sources]
    return [(view, sum(channels[:k])) for k, view in enumerate(stored.sources)]


CONCATENATION, COPIED = Concatenation(), Copied()


def _concat(trace, tensors, axis=0, **settings):
    if settings or axis not in (1, -3) or not isinstance(tensors, (tuple, list)):
        raise Untraceable(f"concatenation along axis {axis}")
    return trace.add(CONCATENATION, *tensors, numbers={"axis": axis})


FUNCTIONS = {"concat": _concat, "cat": _concat}
