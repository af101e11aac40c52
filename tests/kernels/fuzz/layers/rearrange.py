"""What moves numbers or scales them: flattening, shuffle, slice, a factor, nothing."""

import numpy as np
import numpy_tape as tape
from fuzz.layers.kind import Impossible, Kind, maps


class Flatten(Kind):
    def shape(self, step, shapes):
        return shapes[0][0], int(np.prod(shapes[0][1:]))

    def cell(self, step, shapes):
        return "nn.Flatten()" if step.form == "cell" else None

    def call(self, step, name, args):
        return f"{name}({args[0]})" if name else f"{args[0]}.reshape(({args[0]}.shape[0], -1))"

    def compute(self, step, inputs, run):
        return tape.reshape(inputs[0], (len(inputs[0].value), -1))


class Shuffle(Kind):
    """Channel shuffle."""

    def shape(self, step, shapes):
        if maps(shapes)[1] % step.group:
            raise Impossible("channels that the groups do not divide")
        return shapes[0]

    def call(self, step, name, args):
        return f"shuffle({args[0]}, {step.group})"

    def compute(self, step, inputs, run):
        count = inputs[0].value.shape[1]
        return tape.channels(inputs[0], np.arange(count).reshape(step.group, -1).T.ravel())


class Slice(Kind):
    """Some of the channels."""

    def shape(self, step, shapes):
        if not 0 <= step.first < step.last <= maps(shapes)[1]:
            raise Impossible("channels that are not there")
        return shapes[0][0], step.last - step.first, *shapes[0][2:]

    def call(self, step, name, args):
        return f"{args[0]}[:, {step.first}:{step.last}]"

    def compute(self, step, inputs, run):
        return tape.channels(inputs[0], np.arange(step.first, step.last))


class Split(Kind):
    """One of the parts that `ops.split` gives."""

    def shape(self, step, shapes):
        channels = maps(shapes)[1]
        if channels % step.group or step.first >= step.group:
            raise Impossible("channels that the parts do not divide")
        return shapes[0][0], channels // step.group, *shapes[0][2:]

    def call(self, step, name, args):
        return f"ops.split({args[0]}, {args[0]}.shape[1] // {step.group}, axis=1)[{step.first}]"

    def compute(self, step, inputs, run):
        width = inputs[0].value.shape[1] // step.group
        return tape.channels(inputs[0], np.arange(step.first * width, (step.first + 1) * width))


class Scale(Kind):
    """x * factor + shift; with `training` alone in training: the kind of branch that DropPath has."""

    def call(self, step, name, args):
        text = args[0]
        if step.factor != 1:
            text = f"{text} * {step.factor}"
        if step.shift:
            text = f"{text} + {step.shift}"
        return f"({text} if self.training else {args[0]})" if step.training else text

    def compute(self, step, inputs, run):
        x = inputs[0]
        if step.training and not run.training:
            return x
        factor, shift = (x.value.dtype.type(number) for number in (step.factor, step.shift))
        return tape.elementwise(x, x.value * factor + shift, factor)


class Same(Kind):
    """Nothing, in one of its spellings."""

    def cell(self, step, shapes):
        return {"identity": "nn.Identity()", "dropout": "nn.Dropout(p=0.0)", "sequence": "nn.SequentialCell()"}[
            step.form
        ]

    def compute(self, step, inputs, run):
        return inputs[0]
