"""What joins two values or more: sums, products, concatenations."""

import numpy as np
from fuzz import tape
from fuzz.layers.kind import Impossible, Kind


class Add(Kind):
    sign = "+"

    def shape(self, step, shapes):
        try:
            return tuple(np.broadcast_shapes(*shapes)) if len({len(s) for s in shapes}) == 1 else 1 / 0
        except (ValueError, ZeroDivisionError):
            raise Impossible("shapes that do not go together") from None

    def call(self, step, name, args):
        if step.form == "ops":
            return f"ops.{'add' if self.sign == '+' else 'mul'}({args[0]}, {args[1]})"
        return f"{args[0]} {self.sign} {args[1]}"

    def compute(self, step, inputs, run):
        return tape.add(*inputs)


class Multiply(Add):
    sign = "*"

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
