"""The network's input: read as it is by a convolution of few channels, else brought into blocks first."""

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.affine import AFFINE
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.tensors import PLAIN

_FEW = 8  # channels: oneDNN reads images of so few as the framework has them


class Input(Kind):
    name = "input"

    def lower(self, tensors, layer):
        view = tensors.store(self, tensors.shape, layout=PLAIN)
        readers = tensors.trace.readers(layer)
        sole = readers[0] if len(readers) == 1 else None
        if sole is not None and sole.kind.reads_plain(sole) and tensors.shape[0] < _FEW:
            return view
        return tensors.store(AFFINE, tensors.shape, (view,))

    def forward(self, plan, stored):
        pass

    def backward(self, plan, stored):
        pass


INPUT = Input()
COSTS = {"import": cost.passes(2, 0), "export": cost.passes(2, 0)}
