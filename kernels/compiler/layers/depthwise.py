"""Depthwise convolutions by loops of our own: dilated ones, and weight gradients of windows that are not three columns
wide, for which oneDNN has none.
"""

from cellwright.kernels.compiler.layers.window import NUMBERS, plane
from cellwright.kernels.compiler.schedule import NONE


def is_depthwise(numbers):
    """True if each channel of a convolution, whose numbers are by the names of the table, is a group of its own."""
    return 1 < numbers["groups"] == numbers["channels"] == numbers["filters"]


def plan_forward(plan, stored, source, bias, target, form):
    """Adds the operation that convolves. source, target: where input and result lie, in a form; bias may be NONE."""
    places = {"source": source, "bias": bias, "target": target}
    plan.operation("depthwise", **places, **_numbers(plan, stored, form), weights=_weights(plan, stored))


def plan_input_gradient(plan, stored, gradient, target, form):
    """Adds the operation that gives the gradient of the input."""
    places = {"gradient": gradient, "target": target}
    plan.operation("depthwise_input_gradient", **places, **_numbers(plan, stored, form), weights=_weights(plan, stored))


def _numbers(plan, stored, form):
    """Returns the integers of all operations of this file."""
    numbers = {name: stored.numbers[name] for name in NUMBERS}
    return {**numbers, **plane(plan, stored), "channels": stored.channels, "form": form}


def _weights(plan, stored):
    """Returns the weights in blocks of channels."""
    parameter = stored.parameters["weight"]
    pixels = stored.numbers["kernel_height"] * stored.numbers["kernel_width"]
    blocked, plain = plan.stages.take_lasting(plan.padded(stored) * pixels), plan.parameter(parameter)
    plan.stages.weights_job("import", source=plain, target=blocked, channels=stored.channels, pixels=pixels)
    return blocked


def plan_weight_gradient(plan, stored, source, gradient, weight, bias, form):
    """Adds the operation that gives the gradients of weight and bias, and the jobs that add up those of the threads.

    source, gradient: where the input and the gradient of the result lie, in a form. weight, bias: where their gradients
    go; bias may be None.
    """
    numbers = _numbers(plan, stored, form)
    sums = {"sum": (weight, numbers["kernel_height"] * numbers["kernel_width"])}
    if bias is not None:
        sums["bias_sum"] = bias, 1
    places = {name: plan.stages.take_per_thread(plan.padded(stored) * pixels) for name, (_, pixels) in sums.items()}
    plan.operation("depthwise_weight_gradient", source=source, gradient=gradient, **places, **numbers)
    for name, (target, pixels) in sums.items():
        if target is NONE:
            continue
        floats = plan.padded(stored) * pixels
        plan.stages.gradient_job(
            "gather_gradient",
            sum=places[name],
            target=target,
            floats=floats,
            channels=stored.channels,
            pixels=pixels,
        )


def _cost(arguments, lanes):
    out = arguments["blocks"] * lanes * arguments["out_height"] * arguments["out_width"]
    source = arguments["blocks"] * lanes * arguments["height"] * arguments["width"]
    return 2.0 * out * arguments["kernel_height"] * arguments["kernel_width"], 4.0 * (source + out), 0.0


COSTS = dict.fromkeys(("depthwise", "depthwise_input_gradient", "depthwise_weight_gradient"), _cost)
