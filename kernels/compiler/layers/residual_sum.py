"""Additions act(a + b) and act(a sigmoid(gate) + b): one pass over the images for sum, gate and activation."""

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.gate import GatedTensor
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import Deferred


class ResidualSum(Deferred):
    """left sigmoid(gate) + right, which an activation may join; gate may be None."""

    def __init__(self, left, right, gate):
        self.left, self.right, self.gate = left, right, gate

    def activated(self, tensors, slope):
        """Returns the view of the activated sum."""
        sources = (self.left, self.right) + ((self.gate,) if self.gate else ())
        stored = self.left.stored
        return tensors.store(JOIN, stored.extents, sources, numbers={"slope": slope}, flat=stored.flat)

    def materialize(self, tensors):
        return self.activated(tensors, 1.0)


class Join(Kind):
    name = "add"

    def lower(self, tensors, layer, left, right):
        if isinstance(right, GatedTensor):
            left, right = right, left
        left, gate = (left.left, left.gate) if isinstance(left, GatedTensor) else (tensors.tensor(left), None)
        right = tensors.tensor(right)
        if left.stored.extents != right.stored.extents or left.stored.flat != right.stored.flat:
            raise Untraceable("an addition of tensors of different shapes")
        total = ResidualSum(left, right, gate)
        readers = tensors.trace.readers(layer)
        joined = len(readers) == 1 and getattr(readers[0] and readers[0].kind, "takes_sums", False)
        return total if joined else total.materialize(tensors)

    def forward(self, plan, stored):
        for view in stored.sources:
            plan.arrays(view)  # may close the stage, which ends what is in scratch memory
        left, right = (plan.value(view) for view in stored.sources[:2])
        gate = plan.value(stored.sources[2]) if len(stored.sources) > 2 else NONE
        plan.operation(
            "join",
            left=left,
            right=right,
            gate=gate,
            target=plan.place(stored),
            slope=stored.numbers["slope"],
            **plan.plane(stored),
        )

    def backward(self, plan, stored):
        left, right = stored.sources[:2]
        gate = stored.sources[2] if len(stored.sources) > 2 else None
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
            slope=stored.numbers["slope"],
            **plan.plane(stored),
        )
        plan.done(left)
        if gate:
            plan.done(gate)
        plan.pass_on(right, gradient)


JOIN = Join()
FUNCTIONS = {"add": lambda trace, left, right: trace.add(JOIN, left, right)}
COSTS = {"join": cost.passes(3, 2), "join_gradient": cost.passes(3, 2)}
