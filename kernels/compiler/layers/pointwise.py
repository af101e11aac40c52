"""Functions of each number that are computed and kept: ReLU6, sigmoid, tanh, SiLU, hard sigmoid, hard swish, GELU."""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.tensors import Deferred

# As in pointwise.inc.
RELU6, SIGMOID, TANH, SILU, HARD_SIGMOID, HARD_SWISH, GELU_BY_TANH, GELU = range(8)


class SigmoidOf(Deferred):
    """The logistic function of a view, which a gate computes itself, as does what multiplies the view with it."""

    def __init__(self, view):
        self.view, self.like = view, view.stored

    def materialize(self, tensors):
        return POINTWISE.store(tensors, self.view, SIGMOID)


class Pointwise(Kind):
    """numbers: function."""

    name = "pointwise"
    same_size = True

    def lower(self, tensors, layer, value):
        view, readers = tensors.tensor(value), tensors.trace.readers(layer)
        gates = len(readers) == 1 and readers[0] is not None and readers[0].kind.name == "multiply"
        if layer.numbers["function"] == SIGMOID and gates:
            return SigmoidOf(view)
        return self.store(tensors, view, layer.numbers["function"])

    def store(self, tensors, view, function):
        """Returns the plain view of the result."""
        stored = view.stored
        return tensors.store(self, stored.extents, (view,), numbers={"function": function}, flat=stored.flat)

    def forward(self, plan, stored):
        source, target = plan.value(stored.sources[0]), plan.place(stored)
        plan.operation(
            "pointwise",
            source=source,
            target=target,
            channels=stored.channels,
            function=stored.numbers["function"],
            **plan.plane(stored),
        )

    def backward(self, plan, stored):
        view = stored.sources[0]
        if plan.needs(view):
            plan.give(
                view,
                "pointwise_gradient",
                gradient=plan.ready(stored),
                source=plan.value(view),
                function=stored.numbers["function"],
                **plan.plane(stored),
            )


POINTWISE = Pointwise()


def _reader(function):
    return lambda trace, x: trace.add(POINTWISE, x, numbers={"function": function})


def _of_cell(function):
    return lambda trace, cell, x: _reader(function)(trace, x)


def _gelu(trace, x, approximate="none"):
    return _reader({"tanh": GELU_BY_TANH, "none": GELU}[approximate])(trace, x)


_CELLS = {nn.ReLU6: RELU6, nn.Sigmoid: SIGMOID, nn.Tanh: TANH, nn.SiLU: SILU, nn.HSwish: HARD_SWISH}
CELLS = {kind: _of_cell(function) for kind, function in (_CELLS | {nn.HSigmoid: HARD_SIGMOID}).items()}
CELLS[nn.GELU] = lambda trace, cell, x: _gelu(trace, x, cell.approximate)
CHANNELS_LAST = CELLS
FUNCTIONS = {
    "gelu": _gelu,
    "relu6": _reader(RELU6),
    "sigmoid": _reader(SIGMOID),
    "tanh": _reader(TANH),
    "silu": _reader(SILU),
    "hardswish": _reader(HARD_SWISH),
    "hardsigmoid": _reader(HARD_SIGMOID),
}
PRIMITIVES = {kind: _of_cell(function) for kind, function in {ops.ReLU6: RELU6, ops.Sigmoid: SIGMOID}.items()}
COSTS = {"pointwise": cost.passes(2, 8), "pointwise_gradient": cost.passes(3, 12)}
