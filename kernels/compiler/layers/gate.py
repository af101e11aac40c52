"""Gates: a tensor times one number for each channel, or the logistic function of one."""

from mindspore import ops

from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.pointwise import SigmoidOf
from cellwright.kernels.compiler.layers.residual_sum import ResidualSum
from cellwright.kernels.compiler.symbols import Untraceable


class Multiply(Kind):
    name = "multiply"

    def lower(self, tensors, layer, left, right):
        linear, gate = False, None
        for other, value in ((right, left), (left, right)):
            if gate is None and isinstance(value, SigmoidOf):
                left, gate = other, value.view
        if gate is None:
            linear = True
            left, gate = (tensors.image(value) for value in (left, right))
            if (left.stored.height, left.stored.width) == (1, 1):
                left, gate = gate, left
            gate = tensors.plain(gate)
        left = tensors.image(left)
        if gate.stored.flat or gate.stored.extents != (left.stored.channels, 1, 1):
            raise Untraceable("a product that is not a tensor times one number for each channel")
        total = ResidualSum(left, None, gate, linear)
        readers = tensors.trace.readers(layer)
        joined = len(readers) == 1 and readers[0] is not None and readers[0].kind.name == "add"
        return total if joined else total.materialize(tensors)


MULTIPLY = Multiply()


def _multiply(trace, left, right):
    return trace.add(MULTIPLY, left, right)


FUNCTIONS = {"mul": _multiply}
PRIMITIVES = {ops.Mul: lambda trace, primitive, left, right: _multiply(trace, left, right)}
