"""Some of the channels of a tensor in some order: slices, splits, what a channel shuffle does."""

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.rearranged import Factor, Rearranged, axes_of, part_of, rearranged
from cellwright.kernels.compiler.symbols import Symbol, Untraceable


class Channels(Kind):
    """numbers: first, count, inner, inner_stride, outer_stride: channel k of the result is that of number
    first + k / inner outer_stride + k % inner inner_stride.
    """

    name = "channels"
    same_size = True

    def channels(self, layer):
        return layer.numbers["count"]

    def lower(self, tensors, layer, value):
        view, numbers = tensors.tensor(value), layer.numbers
        stored = view.stored
        inner, outer = numbers["inner"], numbers["count"] // numbers["inner"]
        last = numbers["first"] + (inner - 1) * numbers["inner_stride"] + (outer - 1) * numbers["outer_stride"]
        if last >= stored.channels:
            raise Untraceable(f"channel {last} of {stored.channels}")
        extents = numbers["count"], stored.height, stored.width
        return tensors.store(self, extents, (view,), numbers=numbers, flat=stored.flat)

    def forward(self, plan, stored):
        source = plan.value(stored.sources[0])
        numbers = {**stored.numbers, "pixels": stored.pixels, "target_first": 0, "total": stored.channels, "add": 0}
        plan.operation("channels", source=source, target=plan.place(stored), **numbers)

    def backward(self, plan, stored):
        view = stored.sources[0]
        if plan.needs(view):
            gradient = plan.ready(stored)
            plan.give(view, "channels_gradient", source=gradient, **stored.numbers, **plan.plane(view.stored))


CHANNELS = Channels()


def run(first, count):
    """Returns the numbers of `count` channels side by side."""
    return {"first": first, "count": count, "inner": 1, "inner_stride": 1, "outer_stride": 1}


def _pick(trace, symbol, factors, first):
    factors = [factor for factor in factors if factor.size > 1] or [Factor(1, 1)]
    joined = factors[:1]
    for factor in factors[1:]:
        if joined[-1].stride == factor.size * factor.stride:
            joined[-1] = Factor(joined[-1].size * factor.size, factor.stride)
        else:
            joined.append(factor)
    if len(joined) > 2:
        raise Untraceable("channels in an order of more than two strides")
    outer, inner = joined if len(joined) == 2 else (joined[0], Factor(1, 1))
    count = outer.size * inner.size
    if count == symbol.layer.channels and len(joined) == 1 and outer.stride == 1:
        return symbol
    numbers = {"inner": inner.size, "inner_stride": inner.stride, "outer_stride": outer.stride}
    return trace.add(CHANNELS, symbol, numbers={"first": first, "count": count, **numbers})


def _slice(trace, symbol, first, count):
    source, axes, start = axes_of(symbol)
    if isinstance(symbol, Rearranged):
        raise Untraceable("a slice of a tensor whose axes are not those of an image")
    return rearranged(trace, source, [axes[0], [Factor(count, 1)], *axes[2:]], start + first)


def _getitem(trace, symbol, place):
    if isinstance(place, int) and not isinstance(place, bool):
        return part_of(symbol, place)
    place = list(place) if isinstance(place, tuple) else [place]
    if Ellipsis in place:
        k = place.index(Ellipsis)
        place[k : k + 1] = [slice(None)] * (symbol.ndim - len(place) + 1)
    if not all(isinstance(one, slice) for one in place) or any(
        one != slice(None) for k, one in enumerate(place) if k != 1
    ):
        raise Untraceable(f"place {place} of a tensor")
    if len(place) < 2 or place[1] == slice(None):
        return symbol
    channels = symbol.shape[1]
    if not isinstance(channels, int):
        raise Untraceable("how many channels there are is not known here")
    first, last, step = place[1].indices(channels)
    if step != 1 or last <= first:
        raise Untraceable(f"channels {first} to {last} by {step}")
    return _slice(trace, symbol, first, last - first)


def _axis(axis, dim):
    if (axis if dim is None else dim) not in (1, -3):
        raise Untraceable(f"a split along axis {axis if dim is None else dim}")


def _known_channels(symbol):
    channels = symbol.shape[1] if isinstance(symbol, Symbol) and symbol.ndim > 1 else None
    if not isinstance(channels, int):
        raise Untraceable("how many channels there are is not known here")
    return channels


def _split(trace, symbol, split_size_or_sections, axis=0, dim=None):
    _axis(axis, dim)
    channels, sizes = _known_channels(symbol), split_size_or_sections
    if isinstance(sizes, int):
        sizes = [min(sizes, channels - first) for first in range(0, channels, sizes)]
    if sum(sizes) != channels:
        raise Untraceable(f"{channels} channels split into {sizes}")
    return tuple(_slice(trace, symbol, sum(sizes[:k]), size) for k, size in enumerate(sizes))


def _chunk(trace, symbol, chunks, axis=0, dim=None):
    return _split(trace, symbol, -(-_known_channels(symbol) // chunks), axis, dim)


FUNCTIONS = {"pick_channels": _pick, "getitem": _getitem, "split": _split, "chunk": _chunk}


def _cost(arguments, lanes):
    numbers = arguments["count"] * arguments["pixels"]
    return 0.0, 8.0 * numbers, 0.0


COSTS = {"channels": _cost, "channels_gradient": cost.passes(2, 0)}
