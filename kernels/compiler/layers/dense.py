"""Dense layers behind a mean: convolutions of one pixel."""

from mindspore import nn

from cellwright.kernels.compiler.layers.convolution import CONVOLUTION, Convolution, of_one_pixel
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.nodes.factored_gradient import MOST_WEIGHTS


class Dense(Convolution):
    name = "dense"

    def reads_plain(self, layer):
        return False

    def lower(self, tensors, layer, value):
        view, channels = tensors.tensor(value), layer.parameters["weight"].shape[1]
        if not view.stored.flat:
            raise Untraceable("a dense layer that is not behind a mean")
        if channels != view.stored.channels:
            raise Untraceable(f"a dense layer of {channels} inputs is given {view.stored.channels}")
        return self.store(tensors, layer.parameters, view, layer.numbers, flat=True)


DENSE = Dense()


def _read_as(kind):
    def read(trace, cell, x):
        if cell.activation_flag or cell.weight.size > MOST_WEIGHTS:
            raise Untraceable("a dense layer that is large or has an activation")
        parameters = {"weight": cell.weight, **({"bias": cell.bias} if cell.has_bias else {})}
        return trace.add(kind, x, numbers=of_one_pixel(cell.out_channels), parameters=parameters)

    return read


CELLS = {nn.Dense: _read_as(DENSE)}
CHANNELS_LAST = {nn.Dense: _read_as(CONVOLUTION)}
