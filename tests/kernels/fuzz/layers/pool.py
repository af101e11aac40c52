"""Pools, means, and their opposite."""

import numpy as np
import numpy_tape as tape
from fuzz.layers.kind import Impossible, Kind, maps, window


class MaxPool(Kind):
    name, padded = "MaxPool2d", False

    def shape(self, step, shapes):
        images, channels, *size = maps(shapes)
        size, _ = window(size, step.kernel, step.stride, step.pad_mode, step.padding)
        if step.pad_mode == "pad" and any(2 * step.padding[2 * axis] > step.kernel[axis] for axis in (0, 1)):
            raise Impossible("more padding than half a window")
        return images, channels, *size

    def cell(self, step, shapes):
        padding = f", padding={(step.padding[0], step.padding[2])}" if step.pad_mode == "pad" else ""
        return f"nn.{self.name}({step.kernel}, {step.stride}, {step.pad_mode!r}{padding})"

    def compute(self, step, inputs, run):
        x = inputs[0]
        _, pads = window(x.value.shape[2:], step.kernel, step.stride, step.pad_mode, step.padding)
        node, leads = tape.max_pool(x, step.kernel, step.stride, pads)
        run.margin(leads, x.value)
        return node


class AvgPool(MaxPool):
    name = "AvgPool2d"

    def cell(self, step, shapes):
        padding = f", padding={(step.padding[0], step.padding[2])}" if step.pad_mode == "pad" else ""
        extra = f", count_include_pad={step.include}" if step.pad_mode == "pad" else ""
        return f"nn.AvgPool2d({step.kernel}, {step.stride}, {step.pad_mode!r}{padding}{extra})"

    def compute(self, step, inputs, run):
        x = inputs[0]
        size = x.value.shape[2:]
        _, pads = window(size, step.kernel, step.stride, step.pad_mode, step.padding)
        ones = np.pad(np.ones((1, 1, *size)), [(0, 0), (0, 0), *pads])
        if step.pad_mode == "pad" and step.include:
            ones[:] = 1
        divisors = sum(ones[place] for place in tape.window_places(ones.shape[2:], step.kernel, step.stride))[0, 0]
        return tape.avg_pool(x, step.kernel, step.stride, pads, divisors)


class Mean(Kind):
    def shape(self, step, shapes):
        images, channels, *_ = maps(shapes)
        return (images, channels, 1, 1) if step.keep else (images, channels)

    def cell(self, step, shapes):
        if step.form == "cell":
            return f"GlobalMean({step.keep})"
        return "nn.AdaptiveAvgPool2d(1)" if step.form == "pool" and step.keep else None

    def call(self, step, name, args):
        if name:
            return f"{name}({args[0]})"
        if step.form == "ops":
            return f"ops.mean({args[0]}, (2, 3), {step.keep})"
        return f"{args[0]}.mean((2, 3), {step.keep})"

    def compute(self, step, inputs, run):
        return tape.mean(inputs[0], step.keep)


class Upsample(Kind):
    def shape(self, step, shapes):
        images, channels, height, width = maps(shapes)
        return images, channels, 2 * height, 2 * width

    def call(self, step, name, args):
        shape = f"{args[0]}.shape"
        size = f"({shape}[2] * 2, {shape}[3] * 2)"
        return f"ops.interpolate({args[0]}, size={size}, mode='nearest')"

    def compute(self, step, inputs, run):
        return tape.upsample(inputs[0], 2)
