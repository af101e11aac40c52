"""Products: a tensor times one number for each channel (a gate), or the logistic function of one, or another tensor."""

from mindspore import ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.cast import promoted
from cellwright.kernels.compiler.layers.channel_scale import scaled_by
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.pointwise import POINTWISE, SILU, SigmoidOf
from cellwright.kernels.compiler.layers.residual_sum import ResidualSum
from cellwright.kernels.compiler.layers.scale import is_number, scaled
from cellwright.kernels.compiler.layers.stack import Stacked, product
from cellwright.kernels.compiler.symbols import ParameterSymbol, Symbol, Untraceable
from cellwright.kernels.compiler.tensors import View


class Multiply(Kind):
    name = "multiply"
    same_size = True

    def lower(self, tensors, layer, left, right):
        for other, value in ((right, left), (left, right)):
            if isinstance(value, SigmoidOf) and value.view is other:
                return POINTWISE.store(tensors, value.view, SILU)
        total = _gated_by_sigmoid(tensors, left, right)
        if total is None:
            left, right = tensors.tensor(left), tensors.tensor(right)
            total = _gated(tensors, left, right)
        if total is None:
            return PRODUCT.lower(tensors, layer, left, right)
        readers = tensors.trace.readers(layer)
        joined = len(readers) == 1 and readers[0] is not None and readers[0].kind.name == "add"
        return total if joined else total.materialize(tensors)


def _gated_by_sigmoid(tensors, left, right):
    """Returns the ResidualSum of a tensor times the logistic function of its gate, or None if this is not one."""
    for other, value in ((right, left), (left, right)):
        if isinstance(value, SigmoidOf) and _is_gate(value.view, other):
            return ResidualSum(tensors.image(other), None, tensors.plain(value.view), False)
    return None


def _gated(tensors, left, right):
    for other, gate in ((left, right), (right, left)):
        if _is_gate(gate, other):
            return ResidualSum(tensors.image(other), None, tensors.plain(gate), True)
    return None


def _is_gate(view, other):
    """True if a view has one number for each channel of another one."""
    stored = other.stored if isinstance(other, View) else None
    if stored is None or view.stored.flat or stored.flat:
        return False
    return view.stored.extents == (stored.channels, 1, 1)


class Product(Kind):
    name = "product"

    def lower(self, tensors, layer, left, right):
        left, right = tensors.tensor(left), tensors.tensor(right)
        stored = left.stored
        if (stored.extents, stored.flat) != (right.stored.extents, right.stored.flat):
            raise Untraceable("a product of tensors of different shapes")
        return tensors.store(self, stored.extents, (left, right), flat=stored.flat)

    def forward(self, plan, stored):
        for view in stored.sources:
            plan.arrays(view)  # may close the stage, which ends what is in scratch memory
        left, right = map(plan.value, stored.sources)
        plan.operation("multiply", left=left, right=right, target=plan.place(stored), add=0, **plan.plane(stored))

    def backward(self, plan, stored):
        gradient = plan.ready(stored)
        values = list(map(plan.value, stored.sources))
        for view, other in zip(stored.sources, reversed(values)):
            if plan.needs(view):
                plan.give(view, "multiply", left=gradient, right=other, **plan.plane(stored))


MULTIPLY, PRODUCT = Multiply(), Product()


def _multiply(trace, left, right):
    for number, tensor in ((left, right), (right, left)):
        if is_number(number):
            return scaled(trace, tensor, number)
        if isinstance(number, ParameterSymbol) and isinstance(tensor, Symbol):
            return scaled_by(trace, tensor, number)
    if isinstance(left, Stacked) or isinstance(right, Stacked):
        return product(left, right)
    return trace.add(MULTIPLY, *promoted(left, right))


FUNCTIONS = {"mul": _multiply}
PRIMITIVES = {ops.Mul: lambda trace, primitive, left, right: _multiply(trace, left, right)}
COSTS = {"multiply": cost.passes(3, 1)}
