"""The kinds of steps that a fuzzed network is made of.

One class a kind: the shape of its result, its cell and its call as source text, its parameters, and what it computes in
plain numpy. `shape` raises Impossible for settings that do not fit.
"""

import numpy as np
from fuzz import tape

_SQRT_2_OVER_PI = 0.7978845608028654


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


def _four(shapes):
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


class Conv(Kind):
    def shape(self, step, shapes):
        images, channels, *size = _four(shapes)
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


class Norm(Kind):
    """mode: `own` follows the network, `eval` was set to evaluation by itself, `moving` and `batch` say so always."""

    def shape(self, step, shapes):
        images, channels, height, width = _four(shapes)
        if images * height * width < 4:
            raise Impossible("a statistic of so few numbers")
        return shapes[0]

    def cell(self, step, shapes):
        always = {"moving": ", use_batch_statistics=False", "batch": ", use_batch_statistics=True"}.get(step.mode, "")
        return f"nn.BatchNorm2d({shapes[0][1]}, eps={step.eps}, momentum={step.momentum}{always})"

    def parameters(self, step, shapes):
        return dict.fromkeys(("moving_mean", "moving_variance", "gamma", "beta"), (shapes[0][1],))

    def compute(self, step, inputs, run):
        training = {"own": run.training, "eval": False, "moving": False, "batch": True}[step.mode]
        mean, variance = run["moving_mean"], run["moving_variance"]
        node, own = tape.batch_norm(
            inputs[0], run["gamma"], run["beta"], mean.value, variance.value, step.eps, training
        )
        if own is not None:
            # MindSpore moves the variance by the unbiased one.
            count = inputs[0].value.size // inputs[0].value.shape[1]
            rate = mean.value.dtype.type(step.momentum)
            mean.value = rate * mean.value + (1 - rate) * own[0]
            variance.value = rate * variance.value + (1 - rate) * own[1] * count / (count - 1)
        return node


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _gelu(x):
    inner = _SQRT_2_OVER_PI * (x + 0.044715 * x**3)
    t = np.tanh(inner)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x**2)


def _silu(x):
    s = _sigmoid(x)
    return x * s, s * (1 + x * (1 - s))


# name -> (cell, call without a cell or None, where its derivative jumps, values and derivative)
ACTIVATIONS = {
    "relu": ("nn.ReLU()", "ops.relu", (0,), lambda x: (np.maximum(x, 0), x > 0)),
    "leaky": ("nn.LeakyReLU(0.2)", None, (0,), lambda x: (np.where(x > 0, x, 0.2 * x), np.where(x > 0, 1, 0.2))),
    "relu6": ("nn.ReLU6()", "ops.relu6", (0, 6), lambda x: (np.clip(x, 0, 6), (x > 0) & (x < 6))),
    "sigmoid": ("nn.Sigmoid()", "ops.sigmoid", (), lambda x: (_sigmoid(x), _sigmoid(x) * (1 - _sigmoid(x)))),
    "tanh": ("nn.Tanh()", "ops.tanh", (), lambda x: (np.tanh(x), 1 - np.tanh(x) ** 2)),
    "silu": ("nn.SiLU()", "ops.silu", (), _silu),
    "gelu": ("nn.GELU()", None, (), _gelu),
    "hswish": (
        "nn.HSwish()",
        "ops.hardswish",
        (-3, 3),
        lambda x: (x * np.clip(x + 3, 0, 6) / 6, np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6))),
    ),
    "hsigmoid": ("nn.HSigmoid()", None, (-3, 3), lambda x: (np.clip(x + 3, 0, 6) / 6, ((x > -3) & (x < 3)) / 6)),
}


class Act(Kind):
    def cell(self, step, shapes):
        return ACTIVATIONS[step.name][0] if step.form == "cell" or not ACTIVATIONS[step.name][1] else None

    def call(self, step, name, args):
        return f"{name if name else ACTIVATIONS[step.name][1]}({args[0]})"

    def compute(self, step, inputs, run):
        _, _, kinks, function = ACTIVATIONS[step.name]
        x = inputs[0]
        for kink in kinks:
            run.margin(np.abs(x.value - kink), x.value)
        value, slope = function(x.value)
        return tape.elementwise(x, value.astype(x.value.dtype), np.asarray(slope, x.value.dtype))


class PRelu(Kind):
    def cell(self, step, shapes):
        return f"nn.PReLU({shapes[0][1]})"

    def shape(self, step, shapes):
        return _four(shapes)

    def parameters(self, step, shapes):
        return {"w": (shapes[0][1],)}

    def compute(self, step, inputs, run):
        x, w = inputs[0], run["w"]
        run.margin(np.abs(x.value), x.value)
        above, slopes = x.value > 0, w.value[:, None, None]

        def pull(g):
            return np.where(above, g, g * slopes), np.where(above, 0, g * x.value).sum((0, 2, 3))

        return tape.Node(np.where(above, x.value, slopes * x.value), (x, w), pull)


class MaxPool(Kind):
    name, padded = "MaxPool2d", False

    def shape(self, step, shapes):
        images, channels, *size = _four(shapes)
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


class Mean(Kind):
    def shape(self, step, shapes):
        images, channels, *_ = _four(shapes)
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


class Flatten(Kind):
    def shape(self, step, shapes):
        return shapes[0][0], int(np.prod(shapes[0][1:]))

    def cell(self, step, shapes):
        return "nn.Flatten()" if step.form == "cell" else None

    def call(self, step, name, args):
        return f"{name}({args[0]})" if name else f"{args[0]}.reshape(({args[0]}.shape[0], -1))"

    def compute(self, step, inputs, run):
        return tape.reshape(inputs[0], (len(inputs[0].value), -1))


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


class Shuffle(Kind):
    """Channel shuffle."""

    def shape(self, step, shapes):
        if _four(shapes)[1] % step.group:
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
        if not 0 <= step.first < step.last <= _four(shapes)[1]:
            raise Impossible("channels that are not there")
        return shapes[0][0], step.last - step.first, *shapes[0][2:]

    def call(self, step, name, args):
        return f"{args[0]}[:, {step.first}:{step.last}]"

    def compute(self, step, inputs, run):
        return tape.channels(inputs[0], np.arange(step.first, step.last))


class Upsample(Kind):
    def shape(self, step, shapes):
        images, channels, height, width = _four(shapes)
        return images, channels, 2 * height, 2 * width

    def call(self, step, name, args):
        shape = f"{args[0]}.shape"
        size = f"({shape}[2] * 2, {shape}[3] * 2)"
        return f"ops.interpolate({args[0]}, size={size}, mode='nearest')"

    def compute(self, step, inputs, run):
        return tape.upsample(inputs[0], 2)


class Unused(Conv):
    """A layer that nobody calls."""

    def shape(self, step, shapes):
        super().shape(step, shapes)
        return shapes[0]

    def call(self, step, name, args):
        return args[0]

    def compute(self, step, inputs, run):
        return inputs[0]


KINDS = {
    "conv": Conv(),
    "norm": Norm(),
    "act": Act(),
    "prelu": PRelu(),
    "max_pool": MaxPool(),
    "avg_pool": AvgPool(),
    "add": Add(),
    "multiply": Multiply(),
    "concat": Concat(),
    "mean": Mean(),
    "flatten": Flatten(),
    "dense": Dense(),
    "scale": Scale(),
    "same": Same(),
    "shuffle": Shuffle(),
    "slice": Slice(),
    "upsample": Upsample(),
    "unused": Unused(),
}
