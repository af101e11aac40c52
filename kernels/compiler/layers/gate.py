"""Gates: a tensor times the logistic function of one number for each channel, which the addition behind them
computes.
"""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import Deferred


class SigmoidOf(Deferred):
    """The logistic function of a view."""

    def __init__(self, view):
        self.view = view


class GatedTensor(Deferred):
    """left sigmoid(gate), gate (N, C, 1, 1)."""

    def __init__(self, left, gate):
        self.left, self.gate = left, gate


class Sigmoid(Kind):
    name = "sigmoid"

    def lower(self, tensors, layer, value):
        return SigmoidOf(tensors.plain(value))


class Multiply(Kind):
    name = "multiply"

    def lower(self, tensors, layer, left, right):
        if isinstance(left, SigmoidOf):
            left, right = right, left
        if not isinstance(right, SigmoidOf):
            raise Untraceable("a product that is not a tensor times a sigmoid")
        left, gate = tensors.image(left), right.view
        if gate.stored.flat or gate.stored.extents != (left.stored.channels, 1, 1):
            raise Untraceable("a gate that is not one number for each channel")
        return GatedTensor(left, gate)


SIGMOID, MULTIPLY = Sigmoid(), Multiply()


def _sigmoid(trace, x):
    return trace.add(SIGMOID, x)


def _multiply(trace, left, right):
    return trace.add(MULTIPLY, left, right)


CELLS = {nn.Sigmoid: lambda trace, cell, x: _sigmoid(trace, x)}
FUNCTIONS = {"sigmoid": _sigmoid, "mul": _multiply}
PRIMITIVES = {
    ops.Sigmoid: lambda trace, primitive, x: _sigmoid(trace, x),
    ops.Mul: lambda trace, primitive, left, right: _multiply(trace, left, right),
}
