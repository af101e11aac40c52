"""Convolutions and dense layers."""

import numpy_tape as tape
from fuzz.layers.kind import Impossible, Kind, maps, window


class Conv(Kind):
    def shape(self, step, shapes):
        images, channels, *size = maps(shapes)
        if channels % step.group or step.channels % step.group:
            raise Impossible("channels that the groups do not divide")
        size, _ = window(size, step.kernel, step.stride, step.pad_mode, step.padding, step.dilation)
        return images, step.channels, *size

    def cell(self, step, shapes):
        padding = f"padding={step.padding}, " if step.pad_mode == "pad" else ""
        return (
            f"nn.Conv2d({shapes[0][1]}, {step.channels}, {step.kernel}, stride={step.stride}, "
            f"pad_mode={step.pad_mode!r}, {padding}dilation={step.dilation}, group={step.group}, has_bias={step.bias})"
        )

    def parameters(self, step, shapes):
        weight = {"weight": (step.channels, shapes[0][1] // step.group, *step.kernel)}
        return {**weight, "bias": (step.channels,)} if step.bias else weight

    def compute(self, step, inputs, run):
        x = inputs[0]
        _, pads = window(x.value.shape[2:], step.kernel, step.stride, step.pad_mode, step.padding, step.dilation)
        return tape.conv(x, run["weight"], run.get("bias"), step.stride, pads, step.dilation, step.group)


class Unused(Conv):
    """A layer that nobody calls."""

    def shape(self, step, shapes):
        super().shape(step, shapes)
        return shapes[0]

    def call(self, step, name, args):
        return args[0]

    def compute(self, step, inputs, run):
        return inputs[0]


class Dense(Kind):
    def shape(self, step, shapes):
        if len(shapes[0]) != 2:
            raise Impossible("a dense layer wants rows")
        return shapes[0][0], step.channels

    def cell(self, step, shapes):
        return f"nn.Dense({shapes[0][1]}, {step.channels}, has_bias={step.bias})"

    def parameters(self, step, shapes):
        weight = {"weight": (step.channels, shapes[0][1])}
        return {**weight, "bias": (step.channels,)} if step.bias else weight

    def compute(self, step, inputs, run):
        return tape.dense(inputs[0], run["weight"], run.get("bias"))
