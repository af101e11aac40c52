"""ReLU and LeakyReLU: max(x, 0) + slope min(x, 0), of which only a view is made."""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.residual_sum import ResidualSum
from cellwright.kernels.compiler.symbols import Untraceable


class Activation(Kind):
    name = "act"
    same_size = True
    takes_sums = True

    def lower(self, tensors, layer, value):
        slope = layer.numbers["slope"]
        if isinstance(value, ResidualSum):
            return value.activated(tensors, slope)
        view = tensors.tensor(value)
        # A norm that others read as well is one view of its own: it moves its statistics once.
        shared = view.norm is not None and len(tensors.trace.readers(view.norm)) > 1
        if view.slope != 1.0 or shared:
            view = tensors.plain(view)
        return tensors.view(view.stored, view.norm, slope)


ACTIVATION = Activation()


def _add(trace, x, slope):
    if not 0.0 <= slope <= 1.0:
        raise Untraceable(f"LeakyReLU with alpha {slope}")
    return trace.add(ACTIVATION, x, numbers={"slope": slope})


def _relu(trace, x):
    return _add(trace, x, 0.0)


CELLS = {
    nn.ReLU: lambda trace, cell, x: _relu(trace, x),
    nn.LeakyReLU: lambda trace, cell, x: _add(trace, x, float(cell.alpha)),
}
CHANNELS_LAST = CELLS
FUNCTIONS = {"relu": _relu}
PRIMITIVES = {ops.ReLU: lambda trace, primitive, x: _relu(trace, x)}
