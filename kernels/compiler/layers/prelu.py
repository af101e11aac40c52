"""PReLU: max(x, 0) + w min(x, 0), with a w for each channel or one for all; computed and kept."""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import ParameterSymbol, Untraceable


class PRelu(Kind):
    """parameters: slopes (C) or (1)."""

    name = "prelu"
    same_size = True

    def lower(self, tensors, layer, value):
        view, slopes = tensors.tensor(value), layer.parameters["slopes"]
        stored = view.stored
        if slopes.size not in (1, stored.channels):
            raise Untraceable(f"a PReLU of {slopes.size} channels is given {stored.channels}")
        return tensors.store(self, stored.extents, (view,), parameters=layer.parameters, flat=stored.flat)

    def forward(self, plan, stored):
        source, target = plan.value(stored.sources[0]), plan.place(stored)
        plan.operation("prelu", source=source, target=target, **self._slopes(plan, stored), **plan.plane(stored))

    def backward(self, plan, stored):
        view, parameter = stored.sources[0], stored.parameters["slopes"]
        if not plan.needs(view) and not plan.gives(parameter):
            return
        gradient, sums = plan.ready(stored), NONE
        source = plan.value(view)
        if plan.gives(parameter):
            floats = plan.lanes if parameter.size == 1 else plan.padded(stored)
            sums = plan.stages.take_per_thread(floats)
            plan.stages.gradient_job(
                "gather_gradient",
                sum=sums,
                target=plan.output(parameter),
                floats=floats,
                channels=parameter.size,
                pixels=1,
            )
        places = {"source": source, "gradient": gradient, "sum": sums, **self._slopes(plan, stored)}
        plan.give(view, "prelu_gradient", **places, **plan.plane(stored))

    def _slopes(self, plan, stored):
        """Returns the slopes, with zeros behind them that fill up the last block, and whether there is one for all."""
        parameter = stored.parameters["slopes"]
        floats = plan.lanes if parameter.size == 1 else plan.padded(stored)
        blocked, plain = plan.stages.take_lasting(floats), plan.parameter(parameter)
        plan.stages.weights_job("import", source=plain, target=blocked, channels=parameter.size, pixels=1)
        return {"slopes": blocked, "shared": int(parameter.size == 1)}


PRELU = PRelu()


def _prelu(trace, x, slopes):
    if not isinstance(slopes, ParameterSymbol) or len(slopes.shape) != 1:
        raise Untraceable("a PReLU whose slopes are no parameter of one axis")
    return trace.add(PRELU, x, parameters={"slopes": slopes.parameter})


CELLS = {nn.PReLU: lambda trace, cell, x: trace.add(PRELU, x, parameters={"slopes": cell.w})}
FUNCTIONS = {"prelu": _prelu}
PRIMITIVES = {ops.PReLU: lambda trace, primitive, x, slopes: _prelu(trace, x, slopes)}
COSTS = {"prelu": cost.passes(2, 2), "prelu_gradient": cost.passes(3, 5)}
