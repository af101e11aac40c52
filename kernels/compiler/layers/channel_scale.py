"""A tensor times a parameter of one number for each channel (layer scale): a depthwise convolution of one pixel."""

from cellwright.kernels.compiler.layers.convolution import Convolution, of_one_pixel
from cellwright.kernels.compiler.rearranged import channels_last, transposed
from cellwright.kernels.compiler.symbols import Untraceable


class ChannelScale(Convolution):
    """parameters: weight (C)."""

    name = "channel_scale"
    same_size = True

    def reads_plain(self, layer):
        return False

    def lower(self, tensors, layer, value):
        view, channels = tensors.tensor(value), layer.numbers["channels"]
        if channels != view.stored.channels:
            raise Untraceable(f"{channels} factors for {view.stored.channels} channels")
        return self.store(tensors, layer.parameters, view, layer.numbers, flat=view.stored.flat)


CHANNEL_SCALE = ChannelScale()


def scaled_by(trace, x, factors):
    """Returns the symbol of x times a ParameterSymbol."""
    channels, last = factors.parameter.size, channels_last(x)
    along = [k - len(factors.shape) for k, size in enumerate(factors.shape) if size != 1]
    plain = x if last is None else last
    axis = -1 if last is not None or plain.layer is not None and plain.layer.flat else -3
    if along != [axis] or len(factors.shape) > x.ndim or channels < 2:
        raise Untraceable(f"{factors.parameter.name} is used by a cell in a way that programs do not know")
    numbers, parameters = of_one_pixel(channels, groups=channels), {"weight": factors.parameter}
    result = trace.add(CHANNEL_SCALE, plain, numbers=numbers, parameters=parameters)
    return result if last is None else transposed(result, (0, 2, 3, 1))
