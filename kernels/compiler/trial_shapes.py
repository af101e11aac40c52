"""Shapes of inputs for which a network is planned on trial, before any are known."""

import itertools

from cellwright.kernels.compiler.errors import Untraceable, UntraceableEnds

SIZES = (224, 32, 7, 299)  # the last one for auxiliary heads that are made for it
# Height and width of further inputs over those of the first one.
_RATIOS = (1, 2, 1 / 2, 4, 1 / 4, 8, 1 / 8)
_BLOCK = 16  # channels
_MOST = 64  # trials of sizes of further inputs


def trial_shapes(trace):
    """Returns lists of shapes (C, H, W), one for each input; Untraceable if their channels are not known."""
    if not any(layer.kind.name == "conv" for layer in trace.layers):
        raise Untraceable("it has no convolution")
    channels = [_channels(trace, layer) for layer in trace.inputs]
    if None in channels:
        raise UntraceableEnds("how many channels its inputs have is not known")
    ratios = itertools.product((1,), *[_RATIOS] * (len(channels) - 1))
    ratios = list(itertools.islice(ratios, _MOST))
    sizes = SIZES + _fitting_sizes(trace)
    return [
        [(count, _scaled(size, ratio), _scaled(size, ratio)) for count, ratio in zip(channels, some)]
        for size in sizes
        for some in ratios
    ]


def _scaled(size, ratio):
    return int(-(-size * ratio // 1))


def _channels(trace, layer):
    """Returns the channels that the readers of a layer's result ask for, or None."""
    if layer.channels is not None:
        return layer.channels
    found = (_asked(trace, reader, layer) for reader in trace.readers(layer) if reader is not None)
    return next((channels for channels in found if channels is not None), None)


def _asked(trace, reader, layer):
    """Returns the channels that a reader asks for of the layer that is one of its inputs."""
    kind, weights = reader.kind.name, reader.parameters.get("weight", reader.parameters.get("gamma"))
    if weights is not None:
        if kind in ("conv", "dense"):
            return weights.shape[1] * reader.numbers.get("groups", 1)
        return weights.shape[0] if kind == "gather" else weights.size
    if kind == "concat":
        return _share(trace, reader, layer)
    known = [source.channels for source in reader.inputs if source.channels is not None]
    return known[0] if known else _channels(trace, reader)


def _share(trace, concatenation, layer):
    """Returns the channels that one part of a concatenation has; where several are not known, of each a share in whole
    blocks: as good as any other, on trial.
    """
    total = _channels(trace, concatenation)
    if total is None:
        return None
    unknown = [source for source in concatenation.inputs if source.channels is None]
    rest = total - sum(source.channels for source in concatenation.inputs if source.channels is not None)
    share = rest // len(unknown)
    share -= share % _BLOCK if share >= _BLOCK else 0
    return rest - share * (len(unknown) - 1) if layer is unknown[-1] else share


def _fitting_sizes(trace):
    """A gather has to meet the map that it was made for: its extent times the strides before it."""
    gathers = (layer for layer in trace.layers if layer.kind.name == "gather" and layer.parameters)
    extents = {layer.parameters["weight"].shape[2] for layer in gathers}
    return tuple(extent << halvings for extent in sorted(extents, reverse=True) for halvings in range(7))
