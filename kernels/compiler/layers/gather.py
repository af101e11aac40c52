"""One number for each channel: the mean over the pixels, or a weighted sum of them."""

from mindspore import ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import Untraceable


class Gather(Kind):
    """numbers: flat (the result is (N, C) and not (N, C, 1, 1)). parameters: weight (C, 1, H, W), or none for the
    mean.
    """

    name = "gather"

    def flat(self, layer):
        return layer.numbers["flat"]

    def lower(self, tensors, layer, value):
        view = tensors.image(value)
        stored, weight = view.stored, layer.parameters.get("weight")
        if weight is not None and tuple(weight.shape) != (stored.channels, 1, stored.height, stored.width):
            raise Untraceable("a gather for another size")
        extents, flat = (stored.channels, 1, 1), layer.numbers["flat"]
        return tensors.store(self, extents, (view,), parameters=layer.parameters, flat=flat)

    def forward(self, plan, stored):
        source = plan.value(stored.sources[0])
        weights = self._weights(plan, stored)
        plane = plan.plane(stored.sources[0].stored)
        plan.operation("gather", source=source, target=plan.place(stored), weights=weights, **plane)

    def backward(self, plan, stored):
        view, parameter = stored.sources[0], stored.parameters.get("weight")
        gives, needs = plan.gives(parameter), plan.needs(view)
        if not gives and not needs:
            return
        gradient = plan.ready(stored)
        weights = self._weights(plan, stored)
        if needs:
            target, add = plan.target(view)
        else:
            target, add = plan.stages.take_scratch(plan.floats(view.stored)), False
        source, sums = NONE, NONE
        if gives:
            floats = plan.numbers(view.stored)
            source, sums = plan.value(view), plan.stages.take_per_thread(floats)
            plan.stages.gradient_job(
                "gather_gradient",
                sum=sums,
                target=plan.output(parameter),
                floats=floats,
                channels=view.stored.channels,
                pixels=view.stored.pixels,
            )
        plan.operation(
            "gather_gradient",
            source=source,
            gradient=gradient,
            weights=weights,
            target=target,
            sum=sums,
            add=int(add),
            **plan.plane(view.stored),
        )
        if needs:
            plan.done(view)

    def _weights(self, plan, stored):
        """Returns the weights in blocks, or NONE for a mean."""
        if "weight" not in stored.parameters:
            return NONE
        source = stored.sources[0].stored
        blocked = plan.stages.take_lasting(plan.numbers(source))
        plain = plan.parameter(stored.parameters["weight"])
        plan.stages.weights_job("import", source=plain, target=blocked, channels=source.channels, pixels=source.pixels)
        return blocked


GATHER = Gather()


def _mean(trace, x, axis=None, keep_dims=False):
    if axis not in ((2, 3), [2, 3], (-2, -1), [-2, -1]):
        raise Untraceable(f"a mean over the axes {axis}")
    return trace.add(GATHER, x, numbers={"flat": not keep_dims})


def _read_weighted(trace, cell, x):
    return trace.add(GATHER, x, numbers={"flat": False}, parameters={"weight": cell.weight})


# The product of this cell's parameter and its input is no layer of its own.
NAMED_CELLS = {"cellwright.nets.genet.GlobalGather": _read_weighted}
FUNCTIONS = {"mean": _mean}
PRIMITIVES = {ops.ReduceMean: lambda trace, primitive, x, axis=None: _mean(trace, x, axis, primitive.keep_dims)}
COSTS = {"gather": cost.passes(1, 2), "gather_gradient": cost.passes(2, 2)}
