"""The network's inputs: read as they are by a convolution of few channels, else brought into blocks first."""

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.affine import AFFINE
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.tensors import PLAIN

_FEW = 8  # channels: oneDNN reads images of so few as the framework has them


class Input(Kind):
    """numbers of its stored tensors: input (their place among those of the node)."""

    name = "input"

    def lower(self, tensors, layer):
        number = tensors.trace.inputs.index(layer)
        extents = tensors.shapes[number]
        view = tensors.store(self, extents, layout=PLAIN, numbers={"input": number})
        readers = tensors.trace.readers(layer)
        sole = readers[0] if len(readers) == 1 else None
        if sole is not None and sole.kind.reads_plain(sole) and extents[0] < _FEW:
            return view
        return tensors.store(AFFINE, extents, (view,))

    def forward(self, plan, stored):
        pass

    def backward(self, plan, stored):
        pass


INPUT = Input()
COSTS = {"import": cost.passes(2, 0), "export": cost.passes(2, 0)}
