"""Weight gradients of depthwise convolutions: oneDNN has loops for windows of three columns, the others are ours."""

from cellwright.kernels.compiler.layers.window import plane
from cellwright.kernels.compiler.schedule import NONE

_WINDOW = (
    "kernel_height", "kernel_width", "stride_height", "stride_width", "dilation_height", "dilation_width",
    "top", "left",
)  # fmt: skip


def is_depthwise(numbers):
    """True if each channel of a convolution, whose numbers are by the names of the table, is a group of its own."""
    return 1 < numbers["groups"] == numbers["channels"] == numbers["filters"]


def plan_weight_gradient(plan, stored, source, gradient, weight, bias, form):
    """Adds the operation that gives the gradients of weight and bias, and the jobs that add up those of the threads.

    source, gradient: where the input and the gradient of the result lie, in a form. weight, bias: where their gradients
    go; bias may be None.
    """
    numbers = {name: stored.numbers[name] for name in _WINDOW}
    sums = {"sum": (weight, numbers["kernel_height"] * numbers["kernel_width"])}
    if bias is not None:
        sums["bias_sum"] = bias, 1
    places = {name: plan.stages.take_per_thread(plan.padded(stored) * pixels) for name, (_, pixels) in sums.items()}
    plan.operation(
        "depthwise_weight_gradient",
        source=source,
        gradient=gradient,
        **places,
        **numbers,
        **plane(plan, stored),
        channels=stored.channels,
        form=form,
    )
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


COSTS = {"depthwise_weight_gradient": _cost}
