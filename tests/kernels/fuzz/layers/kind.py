"""What a kind of step has to say, and what its shape may be."""


class Impossible(ValueError):
    """Raised for a network that cannot be: a window larger than the map, an addition of other shapes."""


class Kind:
    def shape(self, step, shapes):
        return shapes[0]

    def cell(self, step, shapes):
        """The expression that makes the step's cell."""
        return None

    def call(self, step, name, args):
        """The expression of the result."""
        return f"{name}({', '.join(args)})"

    def parameters(self, step, shapes):
        """Shapes of the parameters by name."""
        return {}

    def compute(self, step, inputs, run):
        """The node of the result; run: the Run of oracle.py that it is part of."""
        raise NotImplementedError


def maps(shapes):
    if any(len(shape) != 4 for shape in shapes):
        raise Impossible("maps are needed")
    return shapes[0]


def window(size, kernel, stride, pad_mode, padding, dilation=(1, 1)):
    """Returns the size of the result and the pads, ((top, bottom), (left, right))."""
    sizes, pads = [], []
    for axis in (0, 1):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        if pad_mode == "same":
            out = -(-size[axis] // stride[axis])
            total = max((out - 1) * stride[axis] + reach - size[axis], 0)
            pad = total // 2, total - total // 2
        else:
            pad = padding[2 * axis : 2 * axis + 2] if pad_mode == "pad" else (0, 0)
            out = (size[axis] + sum(pad) - reach) // stride[axis] + 1
        if out < 1:
            raise Impossible("a window larger than the map")
        sizes.append(out)
        pads.append(tuple(pad))
    return tuple(sizes), tuple(pads)
