"""LayerNorm over the channels of each pixel, and GroupNorm over groups of channels of each image; both are stored."""

from mindspore import nn, ops

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.rearranged import channels_last, transposed
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import ParameterSymbol, Untraceable


class LayerNorm(Kind):
    """numbers: eps. parameters: gamma and beta (C)."""

    name, operation = "layer_norm", "layer_norm"
    same_size = True

    def lower(self, tensors, layer, value):
        view, channels = tensors.tensor(value), layer.parameters["gamma"].shape[0]
        stored = view.stored
        if channels != stored.channels:
            raise Untraceable(f"a norm of {channels} channels is given {stored.channels}")
        numbers = {**layer.numbers, "channels": channels}
        fields = {"numbers": numbers, "parameters": layer.parameters, "flat": stored.flat}
        return tensors.store(self, stored.extents, (view,), **fields)

    def forward(self, plan, stored):
        source = plan.value(stored.sources[0])
        gamma, beta = (self._blocked(plan, stored, role) for role in ("gamma", "beta"))
        places = {"source": source, "target": plan.place(stored), "gamma": gamma, "beta": beta}
        places |= self._scratch(plan, stored)
        plan.operation(self.operation, **places, **stored.numbers, **plan.plane(stored))

    def backward(self, plan, stored):
        view = stored.sources[0]
        if not plan.needs(view) and not any(map(plan.gives, stored.parameters.values())):
            return
        gradient, sums = plan.ready(stored), {}
        source = plan.value(view)
        for role in ("gamma", "beta"):
            sums[f"{role}_sum"] = plan.stages.take_per_thread(plan.padded(stored))
            target = plan.output(stored.parameters[role])
            if target is not NONE:
                plan.stages.gradient_job(
                    "gather_gradient",
                    sum=sums[f"{role}_sum"],
                    target=target,
                    floats=plan.padded(stored),
                    channels=stored.channels,
                    pixels=1,
                )
        plan.give(
            view,
            f"{self.operation}_gradient",
            source=source,
            gradient=gradient,
            gamma=self._blocked(plan, stored, "gamma"),
            **sums,
            **self._scratch(plan, stored),
            **stored.numbers,
            **plan.plane(stored),
        )

    def _blocked(self, plan, stored, role):
        """Returns a parameter with zeros behind it that fill up the last block of channels."""
        blocked, plain = plan.stages.take_lasting(plan.padded(stored)), plan.parameter(stored.parameters[role])
        plan.stages.weights_job("import", source=plain, target=blocked, channels=stored.channels, pixels=1)
        return blocked

    def _scratch(self, plan, stored):
        return {}


class GroupNorm(LayerNorm):
    """numbers: eps, group (channels of one)."""

    name, operation = "group_norm", "group_norm"

    def lower(self, tensors, layer, value):
        return super().lower(tensors, layer, tensors.image(value))

    def _scratch(self, plan, stored):
        place = plan.stages.take_per_thread(6 * plan.padded(stored))
        plan.stages.work.release(place.offset)
        return {"scratch": place}


LAYER_NORM, GROUP_NORM = LayerNorm(), GroupNorm()


def _layer_norm(trace, x, gamma, beta, eps):
    if len(gamma.shape) != 1 or len(beta.shape) != 1:
        raise Untraceable("a LayerNorm over more than the channels")
    plain = x if x.layer is not None and x.layer.flat else channels_last(x)
    if plain is None:
        raise Untraceable("a LayerNorm over other axes than the channels")
    parameters = {"gamma": gamma, "beta": beta}
    result = trace.add(LAYER_NORM, plain, numbers={"eps": float(eps)}, parameters=parameters)
    return result if plain is x else transposed(result, (0, 2, 3, 1))


def _read_primitive(trace, primitive, x, gamma, beta):
    last = (-1, x.ndim - 1)
    settings = primitive.init_attrs
    if settings["begin_norm_axis"] not in last or settings["begin_params_axis"] not in last:
        raise Untraceable("a LayerNorm over other axes than the channels")
    if not isinstance(gamma, ParameterSymbol) or not isinstance(beta, ParameterSymbol):
        raise Untraceable("a LayerNorm whose gamma and beta are no parameters")
    return _layer_norm(trace, x, gamma.parameter, beta.parameter, settings["epsilon"]), None, None


def _read_layer_norm(trace, cell, x):
    if cell.begin_norm_axis not in (-1, x.ndim - 1) or cell.begin_params_axis not in (-1, x.ndim - 1):
        raise Untraceable("a LayerNorm over other axes than the channels")
    return _layer_norm(trace, x, cell.gamma, cell.beta, cell.epsilon)


def _read_group_norm(trace, cell, x):
    numbers = {"eps": float(cell.eps), "group": cell.num_channels // cell.num_groups}
    return trace.add(GROUP_NORM, x, numbers=numbers, parameters={"gamma": cell.gamma, "beta": cell.beta})


CELLS = {nn.LayerNorm: _read_layer_norm, nn.GroupNorm: _read_group_norm}
PRIMITIVES = {ops.LayerNorm: _read_primitive}
COSTS = {
    "layer_norm": cost.passes(4, 8),
    "layer_norm_gradient": cost.passes(8, 20),
    "group_norm": cost.passes(4, 8),
    "group_norm_gradient": cost.passes(8, 20),
}
