"""What joins two values or more: sums, products, concatenations."""

import contextlib

import numpy as np
import numpy_tape as tape
from fuzz.layers.kind import Impossible, Kind


class Add(Kind):
    sign, function = "+", "add"

    def shape(self, step, shapes):
        if len({len(shape) for shape in shapes}) == 1:
            with contextlib.suppress(ValueError):
                return tuple(np.broadcast_shapes(*shapes))
        raise Impossible("shapes that do not go together")

    def call(self, step, name, args):
        return (
            f"ops.{self.function}({args[0]}, {args[1]})" if step.form == "ops" else f"{args[0]} {self.sign} {args[1]}"
        )

    def compute(self, step, inputs, run):
        return tape.add(*inputs)


class Multiply(Add):
    sign, function = "*", "mul"

    def compute(self, step, inputs, run):
        return tape.multiply(*inputs)


class Concat(Kind):
    def shape(self, step, shapes):
        if len({(shape[0], *shape[2:]) for shape in shapes}) != 1:
            raise Impossible("a concatenation of different sizes")
        return shapes[0][0], sum(shape[1] for shape in shapes), *shapes[0][2:]

    def call(self, step, name, args):
        return f"ops.{'cat' if step.form == 'ops' else 'concat'}(({', '.join(args)}), 1)"

    def compute(self, step, inputs, run):
        return tape.concat(*inputs)
