"""Batch norms."""

from fuzz import tape
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
