"""Sums act(a + b), gated ones act(a g(gate) + b), and gated tensors a g(gate): one pass over the images for all of
it.
"""

from mindspore import ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.cast import promoted
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.scale import is_number, scaled
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import Deferred


class ResidualSum(Deferred):
    """left g(gate) + right, which an activation may join; right or gate may be None. linear: g is the identity,
    else the logistic function.
    """

    def __init__(self, left, right, gate, linear):
        self.left, self.right, self.gate, self.linear = left, right, gate, linear
        self.like = left.stored

    def activated(self, tensors, slope):
        """Returns the view of the activated sum."""
        sources = tuple(view for view in (self.left, self.right, self.gate) if view is not None)
        numbers = {"slope": slope, "right": self.right is not None, "linear": self.linear}
        stored = self.left.stored
        return tensors.store(JOIN, stored.extents, sources, numbers=numbers, flat=stored.flat)

    def materialize(self, tensors):
        return self.activated(tensors, 1.0)


class Join(Kind):
    name = "add"
    same_size = True

    def lower(self, tensors, layer, left, right):
        if _gated(right):
            left, right = right, left
        right = tensors.tensor(right)
        if _gated(left):
            total = ResidualSum(left.left, right, left.gate, left.linear)
        else:
            total = ResidualSum(tensors.tensor(left), right, None, False)
        left = total.left.stored
        if left.extents != right.stored.extents or left.flat != right.stored.flat:
            raise Untraceable("an addition of tensors of different shapes")
        readers = tensors.trace.readers(layer)
        joined = len(readers) == 1 and getattr(readers[0] and readers[0].kind, "takes_sums", False)
        return total if joined else total.materialize(tensors)

    def forward(self, plan, stored):
        left, right, gate = _operands(stored)
        for view in stored.sources:
            plan.arrays(view)  # may close the stage, which ends what is in scratch memory
        plan.operation(
            "join",
            left=plan.value(left),
            right=plan.value(right) if right else NONE,
            gate=plan.value(gate) if gate else NONE,
            target=plan.place(stored),
            linear_gate=int(stored.numbers["linear"]),
            slope=stored.numbers["slope"],
            **plan.plane(stored),
        )

    def backward(self, plan, stored):
        left, right, gate = _operands(stored)
        gradient = plan.ready(stored)
        source = plan.value(left) if gate else NONE
        open_gate = plan.value(gate) if gate else NONE
        target, add = plan.target(left)
        gate_target, add_gate = plan.target(gate) if gate else (NONE, False)
        plan.operation(
            "join_gradient",
            left=source,
            joined=plan.place(stored),
            gate=open_gate,
            gradient=gradient,
            target=target,
            gate_gradient=gate_target,
            add=int(add),
            add_gate=int(add_gate),
            linear_gate=int(stored.numbers["linear"]),
            slope=stored.numbers["slope"],
            **plan.plane(stored),
        )
        plan.done(left)
        if gate:
            plan.done(gate)
        if right:
            plan.pass_on(right, gradient)


def _gated(value):
    return isinstance(value, ResidualSum) and value.gate is not None and value.right is None


def _operands(stored):
    """Returns the views of left, right and gate, or None where there is none."""
    left, *rest = stored.sources
    right = rest.pop(0) if stored.numbers["right"] else None
    return left, right, rest[0] if rest else None


JOIN = Join()


def _add(trace, left, right):
    for number, tensor in ((left, right), (right, left)):
        if is_number(number):
            return scaled(trace, tensor, shift=number)
    return trace.add(JOIN, *promoted(left, right))


FUNCTIONS = {"add": _add}
PRIMITIVES = {ops.Add: lambda trace, primitive, left, right: _add(trace, left, right)}
COSTS = {"join": cost.passes(3, 2), "join_gradient": cost.passes(3, 2)}
