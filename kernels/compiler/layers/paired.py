"""Weight gradients of convolutions by loops of our own, two images at a time, where the processor multiplies bfloat16
(the form STORED). oneDNN's pair neighbouring pixels and are slower: 1.05 to 5 times, see csrc/paired.inc.
"""

from cellwright.kernels.compiler.layers.window import NUMBERS, plane
from cellwright.kernels.compiler.schedule import NONE

# Interleaved images of this size, half of the second cache, are gone through at a time.
GROUP_BYTES = 512 << 10
SMALL = 64  # pixels of a result


def takes(numbers, images):
    """True if the weight gradient of a convolution, whose numbers are by the names of the table, is made by pairs.

    images: the most of a thread; of one or three, half a pair is too much. Windows of one pixel do too little with what
    is interleaved, but on small images: DenseNet-121's on 56x56 took 50 ms in place of 32, those on 7x7 6 either way.
    """
    if images in (1, 3) or numbers["groups"] > 1 or numbers["plain_source"] or numbers["rows"]:
        return False
    window, pixels = (numbers[f"{of}height"] * numbers[f"{of}width"] for of in ("kernel_", "out_"))
    return bool(numbers["bfloat16"]) and (window > 1 or pixels <= SMALL)


def plan_weight_gradient(plan, stored, source, gradient, weight, bias):
    """Adds the operation that gives the gradients of weight and bias, and the jobs that add up those of the threads.

    source, gradient: where the input and the gradient of the result lie. weight, bias: where their gradients go; bias
    may be None.
    """
    numbers, view = stored.numbers, stored.sources[0].stored
    window = numbers["kernel_height"] * numbers["kernel_width"]
    channels, filters = plan.padded(view), plan.padded(stored)
    pair = plan.numbers(view) + plan.numbers(stored)  # 4 bytes for each number of both images
    group = max(1, min(-(-plan.stages.most // 2), GROUP_BYTES // (4 * pair)))
    places = {"sum": plan.stages.take_per_thread(channels * filters * window)}
    if bias is not None:
        places["bias_sum"] = plan.stages.take_per_thread(filters)
    pairs = plan.stages.take_per_thread(group * pair)
    plan.operation(
        "paired_weight_gradient",
        source=source,
        gradient=gradient,
        pairs=pairs,
        group=group,
        filter_blocks=plan.blocks(stored),
        **places,
        **{name: numbers[name] for name in NUMBERS},
        **{**plane(plan, stored), "blocks": plan.blocks(view)},
    )
    plan.stages.work.release(pairs.offset)
    if weight is not NONE:
        plan.stages.gradient_job(
            "paired_weight_gradient",
            sum=places["sum"],
            target=weight,
            floats=channels * filters * window,
            channels=view.channels,
            filters=stored.channels,
            window=window,
            lanes=plan.lanes,
        )
    if bias not in (None, NONE):
        plan.stages.gradient_job(
            "gather_gradient", sum=places["bias_sum"], target=bias, floats=filters, channels=stored.channels, pixels=1
        )


def _cost(arguments, lanes):
    source, out = (arguments[f"{of}height"] * arguments[f"{of}width"] for of in ("", "out_"))
    channels, filters = arguments["blocks"] * lanes, arguments["filter_blocks"] * lanes
    weights = channels * filters * arguments["kernel_height"] * arguments["kernel_width"]
    return 2.0 * weights * out, 4.0 * (channels * source + filters * out), 8.0 * weights


COSTS = {"paired_weight_gradient": _cost}
