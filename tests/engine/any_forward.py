"""Forward functions and networks for the tests of steps that are given a function."""

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from cellwright.engine import Gradients, Update


class Line(nn.Cell):
    """y = x w: one dense layer without bias, weights by seed."""

    def __init__(self, inputs=4, outputs=1, seed=0, prefix=""):
        super().__init__()
        values = np.random.default_rng(seed).normal(size=(outputs, inputs)).astype(np.float32)
        self.dense = nn.Dense(inputs, outputs, weight_init=Tensor(values), has_bias=False)
        if prefix:
            self.update_parameters_name(prefix)

    def construct(self, x):
        return self.dense(x)


def data(count, seed=0):
    """Returns inputs and targets of a Line."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(count, 4)).astype(np.float32), draw.normal(size=(count, 1)).astype(np.float32)


def gradient(weight, x, target):
    """Returns the gradient of the mean of squares by the weight of a Line, in float64."""
    x = x.astype(np.float64)
    return 2 * ((x @ weight.astype(np.float64).T) - target).T @ x / len(x)


class WithUnused(nn.Cell):
    """A line, and a parameter that nothing reads."""

    def __init__(self):
        super().__init__()
        self.line = Line()
        self.forgotten = Parameter(Tensor(np.ones(3, np.float32)), name="forgotten")

    def construct(self, x):
        return self.line(x)


def squares(network):
    """Mean of squares between the network's output and float targets; aux: the output, and the losses in a dict."""

    def forward(x, target):
        out = network(x)
        losses = ops.square(out - target).mean(axis=1)
        return losses.mean(), {"out": out, "parts": (losses, target)}

    return forward


def nested(network):
    """A loss of a nesting of tuples and dicts with several dtypes, and no labels."""

    def forward(batch, more):
        x = batch["views"][0] + batch["views"][1]
        kept = ops.cast(batch["mask"], ms.float32)
        return (network(x).reshape((-1,)) * kept).sum() * ops.cast(more[0]["times"].sum(), ms.float32)

    return forward


def vector_loss(network):
    def forward(x):
        return network(x)

    return forward


def distil(student, teacher):
    """Mean of squares between two networks."""

    def forward(x):
        return ops.square(student(x) - teacher(x)).mean()

    return forward


def classified(network, loss):
    """What a step of a network and its loss differentiates, as a function."""

    def forward(images, labels, weights):
        return loss(network(images), labels, weights), ()

    return forward


class Pieces(nn.Cell):
    """What a step does, from its pieces."""

    def __init__(self, forward, optimizer, **settings):
        super().__init__(auto_prefix=False)
        self.gradients, self.update = Gradients(forward, optimizer.params), Update(optimizer, **settings)

    @ms.jit
    def construct(self, batch, lr):
        loss, _, gradients = self.gradients(batch, self.update.scale.value)
        return self.update(loss, gradients, lr)


class Tupled(Line):
    """Two outputs, as of a network with an auxiliary head."""

    def construct(self, x):
        y = self.dense(x)
        return y, y
