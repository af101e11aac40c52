"""BatchNorm: statistics where a tensor is written, scale and shift a channel, applied where the tensor is read."""

from mindspore import nn

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.operands import EVALUATION, FORWARD
from cellwright.kernels.compiler.schedule import NONE, THEN
from cellwright.kernels.compiler.symbols import Untraceable

STATISTICS = ("moving_mean", "moving_variance")


class Norm(Kind):
    """numbers: eps, momentum (share of the old moving value), fixed (the moving statistics are used and stay)."""

    name = "norm"
    same_size = True

    def changes_parameters(self, layer):
        return not layer.numbers["fixed"]

    def lower(self, tensors, layer, value):
        view, channels = tensors.plain(tensors.image(value)), layer.parameters["gamma"].shape[0]
        if channels != view.stored.channels:
            raise Untraceable(f"a norm of {channels} channels is given {view.stored.channels}")
        return tensors.view(view.stored, layer)

    # Arrays of one number a channel.

    def saved_arrays(self, saved, view):
        """Returns places for mean, variance, scale and shift: each view has its own scale and shift, and the
        statistics of its tensor, of which a part of a concatenation has a part.
        """
        stored = view.stored
        if view.norm.numbers["fixed"]:
            return [saved.channel_array(stored) for _ in range(4)]
        root, channel = stored.root()
        own = [saved.channel_array(stored) for _ in range(2)]
        return [ref.at(channel) for ref in saved.statistics[root]] + own

    def arrays(self, plan, view):
        """Returns mean, scale and shift by name; plans what makes them when it is asked for the first time."""
        if plan.direction == EVALUATION:
            places = self._fixed(plan, view, None)
        elif plan.direction == FORWARD:
            places = self._by_batch(plan, view)
        else:
            places = plan.saved.norms[view]
        return {"mean": places[0], "scale": places[2], "shift": places[3]}

    def _by_batch(self, plan, view):
        places = plan.saved.norms[view]
        if view.norm.numbers["fixed"]:
            return self._fixed(plan, view, places)
        if view not in plan.normed:
            plan.normed[view] = places
            if any(plan.written_in.get(leaf) == plan.stages.number for leaf in view.stored.leaves()):
                plan.stages.close()
            numbers = view.norm.numbers
            plan.stages.job(
                THEN,
                "norm",
                layer=view.name,
                momentum=numbers["momentum"],
                count=plan.stages.images * view.stored.pixels,
                **self.job(plan, view, places),
            )
        return places

    def _fixed(self, plan, view, places):
        if view not in plan.normed:
            padded = plan.padded(view.stored)
            plan.normed[view] = places or [plan.stages.take_lasting(padded) for _ in range(4)]
            plan.stages.weights_job("norm_fixed", layer=view.name, **self.job(plan, view, plan.normed[view]))
        return plan.normed[view]

    def job(self, plan, view, places):
        """Returns the arguments of the jobs that make mean, variance, scale and shift of a view, at four places."""
        roles = ("gamma", "beta", *STATISTICS)
        return {
            **dict(zip(("mean", "variance", "scale", "shift"), places)),
            **{role: plan.parameter(view.norm.parameters[role]) for role in roles},
            "channels": view.stored.channels,
            "padded": plan.padded(view.stored),
            "eps": view.norm.numbers["eps"],
        }

    # Passes.

    def take_statistics(self, plan, layer, stored):
        """Adds the statistics of a tensor that has just been written; returns True if this norm takes any."""
        if layer.numbers["fixed"]:
            return False
        partial = plan.stages.take_per_thread(plan.padded(stored) * 4)  # two doubles a channel
        plan.operation("statistics", layer.name, source=plan.place(stored), partial=partial, **plan.plane(stored))
        root, channel = stored.root()
        mean, variance = (ref.at(channel) for ref in plan.saved.statistics[root])
        plan.stages.job_after(
            "statistics",
            layer=layer.name,
            partial=partial,
            mean=mean,
            variance=variance,
            channels=plan.padded(stored),
            pixels=stored.pixels,
        )
        plan.written_in[stored] = plan.stages.number
        return True

    def backward_sums(self, plan, view, partial):
        """Turns the sums over the batch into the gradients of gamma and beta and the linear part of the input's
        gradient.
        """
        stored, fixed = view.stored, view.norm.numbers["fixed"]
        slope, constant, add, root = (NONE, NONE, False, None) if fixed else plan.linear_part(view)
        gamma, beta = (plan.output(view.norm.parameters[role]) for role in ("gamma", "beta"))
        _, variance, scale, _ = plan.saved.norms[view]
        plan.stages.job_after(
            "norm_gradient",
            layer=view.name,
            chain=root,
            partial=partial,
            variance=variance,
            scale=scale,
            gamma=gamma,
            beta=beta,
            slope=slope,
            constant=constant,
            channels=stored.channels,
            padded=plan.padded(stored),
            count=plan.stages.images * stored.pixels,
            add=int(add),
            fixed=int(fixed),
            eps=view.norm.numbers["eps"],
        )


NORM = Norm()


def _read(trace, cell, x):
    if cell.format != "NCHW":
        raise Untraceable(f"BatchNorm2d with {cell.format}")
    by_batch = cell.training if cell.use_batch_statistics is None else cell.use_batch_statistics
    if by_batch and not trace.training:
        raise Untraceable("a norm by batch statistics in evaluation")
    parameters = {role: getattr(cell, role) for role in ("gamma", "beta", *STATISTICS)}
    if any(parameters[role].requires_grad for role in STATISTICS):
        raise Untraceable("moving statistics that ask for a gradient")
    numbers = {"eps": float(cell.eps), "momentum": 1 - cell.momentum, "fixed": not by_batch}
    return trace.add(NORM, x, numbers=numbers, parameters=parameters)


CELLS = {nn.BatchNorm2d: _read}
COSTS = {"statistics": cost.passes(1, 3), "norm_reduce": cost.passes(3, 7)}
