"""In an evaluation a convolution takes in the BatchNorm behind it, into weights and bias, and the ReLU behind that."""

from cellwright.kernels.compiler.layers import loops
from cellwright.kernels.compiler.tensors import FLOAT32, STORED
from cellwright.kernels.csrc import program_abi as native


def folded_view(stored):
    """Returns the View that a convolution computes in an evaluation in place of its own result, or None.

    That is the only one that is read, through a norm by moving statistics, and a ReLU or nothing.
    """
    if len(stored.views) != 1 or stored.whole is not None or stored.dtype != FLOAT32:
        return None
    view = stored.views[0]
    if view.norm is None or not view.norm.numbers["fixed"] or view.slope not in (0.0, 1.0):
        return None
    return view if loops.compiled(native.FORWARD, folded_shape(stored, view)) else None


def folded_shape(stored, view):
    """Returns the numbers of the convolution as it is run, by the names of the table."""
    return {**loops.shape(stored, True, STORED), "relu": int(view.slope == 0.0)}


def fold(plan, stored, view):
    """Returns where weights and bias of the convolution lie that computes a view; plans what makes them."""
    weight, norm, stages = stored.parameters["weight"], view.norm, plan.stages
    seen = {"source": plan.parameter(weight)}
    if "bias" in stored.parameters:
        seen["bias"] = plan.parameter(stored.parameters["bias"])
    seen |= {role: plan.parameter(parameter) for role, parameter in norm.parameters.items()}
    arrays = [stages.take_lasting(plan.padded(stored)) for _ in range(4)]
    of_norm = norm.kind.job(plan, view, arrays)
    bias = stages.take_lasting(stored.channels)

    def jobs(target):
        places = {name: seen[name] for name in ("source", "bias") if name in seen}
        places |= {name: of_norm[name] for name in ("mean", "scale", "shift")}
        places |= {"target": target, "target_bias": bias}
        filters = {"filters": stored.channels, "row": weight.size // stored.channels}
        return [("norm_fixed", of_norm), ("fold", {**places, **filters})]

    return stages.weights_before(weight.size, seen, jobs), bias
