"""Convolutions, by oneDNN in its own layout of the weights."""

import functools

from mindspore import nn

from cellwright.kernels.compiler.layers import depthwise, loops, paired
from cellwright.kernels.compiler.layers.folding import fold, folded_shape, folded_view
from cellwright.kernels.compiler.layers.groups import bring_gradient, bring_weights
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.layers.loops import choose_form, expansion, shape
from cellwright.kernels.compiler.layers.subsampling import subsampled
from cellwright.kernels.compiler.layers.window import Padding, ZeroPadded, pair, window
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import PLAIN, STORED, WIDE
from cellwright.kernels.csrc import program_abi as native


class Convolution(Kind):
    """numbers: kernel, stride, dilation (height, width), padding, groups, channels (of the result)."""

    name = "conv"

    def channels(self, layer):
        return layer.numbers["channels"]

    def reads_plain(self, layer):
        numbers, one = layer.numbers, (1, 1)
        return numbers["groups"] == 1 and (numbers["stride"] == one or numbers["dilation"] == one)

    def lower(self, tensors, layer, value):
        padding = layer.numbers["padding"]
        if isinstance(value, ZeroPadded):
            value, padding = value.view, padding.more(value.sides)
        view, numbers, channels = tensors.image(value), layer.numbers, layer.parameters["weight"].shape[1]
        if channels * numbers["groups"] != view.stored.channels:
            raise Untraceable(f"a convolution of {channels} channels is given {view.stored.channels}")
        if not 1 < numbers["groups"] == numbers["channels"]:  # depthwise ones have loops of our own
            view, numbers, padding = subsampled(tensors, view, numbers, padding)
        return self.store(tensors, layer.parameters, view, {**numbers, "padding": padding})

    def store(self, tensors, parameters, view, numbers, flat=False):
        """Returns the plain view of the result."""
        sees = (numbers[name] for name in ("kernel", "stride", "padding", "dilation"))
        found, extents = window(view.stored, *sees)
        found = {name: found[name] for name in found if not name.startswith("padded")}
        found |= {"dilation_height": numbers["dilation"][0], "dilation_width": numbers["dilation"][1]}
        found["groups"] = numbers["groups"]
        result = tensors.store(
            self, (numbers["channels"], *extents), (view,), numbers=found, parameters=parameters, flat=flat
        )
        if tensors.trial:
            choose_form(result.stored, trial=True)
        return result

    def flops(self, stored):
        weight = stored.parameters["weight"]
        return 2.0 * weight.size * stored.pixels

    def forward(self, plan, stored):
        view = stored.sources[0]
        chunk_size = self._chunk_size(plan, stored)
        plan.begin(chunk_size)
        form = choose_form(stored)
        source = plan.value(view, dense=True, form=form)
        plan.stages.chunk_sizes.append(chunk_size)
        place, image = plan.place(stored), plan.floats(stored, form)
        in_place = form == STORED and place.stride == image
        target = place if in_place else plan.stages.take_scratch(image)
        folded = plan.folded(stored)
        if folded is not None:
            prepare, bias = self._prepare_folded(plan, stored, folded)
            plan.operation("conv", prepare=prepare, source=source, bias=bias, target=target)
            return
        bias = plan.parameter(stored.parameters["bias"]) if "bias" in stored.parameters else NONE
        if loops.own_loops(native.FORWARD, shape(stored, bias is not NONE, form)):
            depthwise.plan_forward(plan, stored, source, bias, target, form)
        else:
            prepare = self._prepare(plan, stored, native.FORWARD)
            plan.operation("conv", prepare=prepare, source=source, bias=bias, target=target)
        if target is not place:
            plan.settle(stored, target, place, form)

    def backward(self, plan, stored):
        view = stored.sources[0]
        weight, bias = stored.parameters["weight"], stored.parameters.get("bias")
        gives, needs = plan.gives(weight) or plan.gives(bias), plan.needs(view)
        if not gives and not needs:
            return
        form = choose_form(stored)
        gradient = plan.ready(stored, dense=True, form=form)
        chunk_size = self._chunk_size(plan, stored)
        if gives and paired.takes(shape(stored, bias is not None, form), plan.stages.most):
            chunk_size = max(2, chunk_size // 2 * 2)
        plan.stages.chunk_sizes.append(chunk_size)
        if gives:
            self._weight_gradient(plan, stored, plan.value(view, dense=True, form=form), gradient, form)
        if not needs:
            return
        if view.stored.layout == PLAIN:
            # oneDNN has nothing but reference loops for the gradient of plain images.
            target = plan.stages.take_scratch(plan.floats(view.stored, form))
            self._input_gradient(plan, stored, gradient, target, form)
            plan.give_input(view.stored, target, form)
        else:
            plan.share(view, lambda target: self._input_gradient(plan, stored, gradient, target, form), form)

    def _weight_gradient(self, plan, stored, source, gradient, form):
        view, bias = stored.sources[0], stored.parameters.get("bias")
        numbers, weight = shape(stored, bias is not None, form), plan.output(stored.parameters["weight"])
        bias = plan.output(bias) if bias is not None else None
        if loops.own_loops(native.WEIGHT_GRADIENT, numbers):
            depthwise.plan_weight_gradient(plan, stored, source, gradient, weight, bias, form)
            return
        if paired.takes(numbers, plan.stages.most):
            paired.plan_weight_gradient(plan, stored, source, gradient, weight, bias)
            return
        numbers, frame = loops.framed(numbers)
        if frame:
            whole = plan.blocks(view.stored) * plan.lanes * numbers["height"] * numbers["width"]
            source, bare = plan.stages.take_scratch(whole), source
            plan.operation("frame", source=bare, target=source, blocks=plan.blocks(view.stored), **frame)
        prepare = functools.partial(
            _prepare_weight_gradient, numbers, expansion(stored), {"weight": weight, "bias": bias}
        )
        plan.operation("weight_gradient", prepare=prepare, source=source, gradient=gradient)
        if frame:
            plan.stages.release_scratch(source)

    def _input_gradient(self, plan, stored, gradient, target, form):
        if loops.own_loops(native.INPUT_GRADIENT, {**shape(stored, False, form), "plain_source": 0}):
            depthwise.plan_input_gradient(plan, stored, gradient, target, form)
            return
        prepare = self._prepare(plan, stored, native.INPUT_GRADIENT)
        plan.operation("conv", prepare=prepare, source=target, target=gradient)

    def folded(self, stored):
        """Returns the View that takes the place of the result in an evaluation, or None."""
        return folded_view(stored)

    def _prepare_folded(self, plan, stored, view):
        weights, bias = fold(plan, stored, view)
        numbers = folded_shape(stored, view)
        return functools.partial(
            _prepare_with_weights, native.FORWARD, numbers, expansion(stored), weights, False
        ), bias

    def _chunk_size(self, plan, stored):
        form = choose_form(stored)
        return plan.stages.chunk_size(plan.floats(stored.sources[0].stored, form) + plan.floats(stored, form))

    def _prepare(self, plan, stored, direction):
        bias = direction == native.FORWARD and "bias" in stored.parameters
        form = choose_form(stored)
        numbers = shape(stored, bias, form)
        if direction == native.INPUT_GRADIENT:
            numbers["plain_source"] = 0
        weights = plan.parameter(stored.parameters["weight"])
        return functools.partial(_prepare_with_weights, direction, numbers, expansion(stored), weights, form == WIDE)


def _prepare_with_weights(direction, numbers, wider, weights, rounds, stages, entry, sizes):
    """Makes the primitive of a convolution that reads weights, and the job that brings these into its layout.

    rounds: to numbers that bfloat16 has, where these are multiplied as float32.
    """
    entry.handle, floats = native.convolution(direction, numbers, sizes)
    entry.arguments["weights"] = target = stages.take_lasting(floats)
    if wider is not None:
        bring_weights(stages, entry, numbers, wider, weights, target, floats)
        return
    reorder, places = native.reorder(entry.handle, False), {"source": weights, "target": target}
    stages.weights_job("reorder", entry.layer, reorder, **places, floats=floats, round=int(rounds))


def _prepare_weight_gradient(numbers, wider, outputs, stages, entry, sizes):
    """Makes the primitive of a weight gradient, the sums of each thread, and the jobs that add these up."""
    entry.handle, floats = native.convolution(native.WEIGHT_GRADIENT, numbers, sizes)
    arguments, filters = entry.arguments, numbers["filters"]
    arguments.update(floats=floats, bias_floats=filters, sum=stages.take_per_thread(floats))
    parts = [stages.take_per_thread(floats)]
    if wider is not None:
        bring_gradient(stages, entry, numbers, wider, arguments["sum"], outputs["weight"], floats)
    else:
        reorder = native.reorder(entry.handle, True)
        stages.gradient_job(
            "weight_gradient", entry.layer, reorder, sum=arguments["sum"], target=outputs["weight"], floats=floats
        )
    if outputs["bias"] is not None:
        arguments["bias_sum"] = stages.take_per_thread(filters)
        parts.append(stages.take_per_thread(filters))
        stages.gradient_job(
            "bias_gradient",
            entry.layer,
            sum=arguments["bias_sum"],
            target=outputs["bias"],
            floats=filters,
            channels=filters,
        )
    arguments.update(zip(("part", "bias_part"), parts))
    for part in parts:
        stages.work.release(part.offset)


CONVOLUTION = Convolution()


def _read(trace, cell, x):
    if cell.data_format != "NCHW":
        raise Untraceable(f"a convolution in {cell.data_format}")
    sides = tuple(cell.padding) if isinstance(cell.padding, tuple) else (cell.padding,) * 4
    padding = Padding(cell.pad_mode, sides)
    numbers = {
        "kernel": pair(cell.kernel_size),
        "stride": pair(cell.stride),
        "dilation": pair(cell.dilation),
        "padding": padding,
        "groups": cell.group,
        "channels": cell.out_channels,
    }
    parameters = {"weight": cell.weight, **({"bias": cell.bias} if cell.has_bias else {})}
    return trace.add(CONVOLUTION, x, numbers=numbers, parameters=parameters)


def _numbers_of(operation):
    """Returns the numbers of a convolution from the schedule's entry: its `prepare` holds them."""
    return next(value for value in operation.prepare.args if isinstance(value, dict) and "filters" in value)


def multiplies_bfloat16(operation):
    """True if an operation of a convolution multiplies bfloat16, and not float32."""
    return bool(_numbers_of(operation)["bfloat16"])


def of_one_pixel(channels, groups=1):
    """Returns the numbers of a convolution that sees one pixel at a time."""
    one = (1, 1)
    numbers = {"kernel": one, "stride": one, "dilation": one, "padding": Padding()}
    return {**numbers, "groups": groups, "channels": channels}


def operation_cost(operation):
    """Returns FLOPs and bytes for an image, and bytes for each run, of an operation of a convolution; see layers.cost.

    operation: the schedule's entry, whose `prepare` holds the convolution's numbers.
    """
    numbers = _numbers_of(operation)
    pixels = numbers["out_height"] * numbers["out_width"]
    weights = numbers["channels"] * numbers["filters"] // numbers["groups"]
    weights *= numbers["kernel_height"] * numbers["kernel_width"]
    moved = numbers["channels"] * numbers["height"] * numbers["width"] + numbers["filters"] * pixels
    size = 2.0 if numbers["bfloat16"] else 4.0
    return 2.0 * weights * pixels, size * moved, size * weights


def _frame_cost(arguments, lanes):
    pixels = (arguments[f"{of}height"] * arguments[f"{of}width"] for of in ("", "framed_"))
    return 0.0, 4.0 * arguments["blocks"] * lanes * sum(pixels), 0.0


CELLS = {nn.Conv2d: _read}
COSTS = {"frame": _frame_cost}
