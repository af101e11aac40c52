"""Norms of the batch, of groups of channels, of pixels, and factors of channels."""

import numpy_tape as tape
from fuzz.layers.kind import Impossible, Kind, maps


class Norm(Kind):
    """mode: `own` follows the network, `eval` was set to evaluation by itself, `moving` and `batch` say so always."""

    def shape(self, step, shapes):
        images, channels, height, width = maps(shapes)
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


class GroupNorm(Kind):
    def shape(self, step, shapes):
        _, channels, height, width = maps(shapes)
        if channels % step.group or channels // step.group * height * width < 4:
            raise Impossible("channels that the groups do not divide, or a statistic of so few numbers")
        return shapes[0]

    def cell(self, step, shapes):
        return f"nn.GroupNorm({step.group}, {shapes[0][1]}, eps={step.eps})"

    def parameters(self, step, shapes):
        return dict.fromkeys(("gamma", "beta"), (shapes[0][1],))

    def compute(self, step, inputs, run):
        x, shape = inputs[0], inputs[0].value.shape
        count = shape[0] * step.group
        return tape.row_norm(
            x, run["gamma"], run["beta"], step.eps, lambda v: v.reshape(count, -1), lambda v: v.reshape(shape)
        )


class PixelNorm(GroupNorm):
    """A LayerNorm over the channels of each pixel."""

    def shape(self, step, shapes):
        if maps(shapes)[1] < 4:
            raise Impossible("a statistic of so few numbers")
        return shapes[0]

    def cell(self, step, shapes):
        return f"ChannelNorm(({shapes[0][1]},), epsilon={step.eps})"

    def compute(self, step, inputs, run):
        images, channels, height, width = inputs[0].value.shape

        def rows(v):
            return v.transpose(0, 2, 3, 1).reshape(-1, channels)

        def back(v):
            return v.reshape(images, height, width, channels).transpose(0, 3, 1, 2)

        return tape.row_norm(inputs[0], run["gamma"], run["beta"], step.eps, rows, back)


class Factors(Kind):
    """One number for each channel, as a parameter."""

    def shape(self, step, shapes):
        return maps(shapes)

    def cell(self, step, shapes):
        return f"Factors({shapes[0][1]})"

    def parameters(self, step, shapes):
        return {"factors": (shapes[0][1],)}

    def compute(self, step, inputs, run):
        x, factors = inputs[0], run["factors"]
        wide = factors.value[:, None, None]
        return tape.Node(x.value * wide, (x, factors), lambda g: (g * wide, (g * x.value).sum((0, 2, 3))))
