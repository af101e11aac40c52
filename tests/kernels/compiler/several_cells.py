"""Cells that take or return several tensors, and what a step gives for them with and without programs."""

import mindspore
import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops
from small_cells import Head, conv, fill


class Stage(nn.Cell):
    """relu(norm(conv(x))) of half the size."""

    def __init__(self, before, after, stride=2):
        super().__init__()
        self.conv, self.norm, self.relu = conv(before, after, 3, stride=stride), nn.BatchNorm2d(after), nn.ReLU()

    def construct(self, x):
        return self.relu(self.norm(self.conv(x)))


class Pyramid(nn.Cell):
    """The features of three stages; the channels of the last are no whole blocks."""

    def __init__(self, as_list=False):
        super().__init__()
        self.stages = nn.CellList([Stage(3, 16), Stage(16, 32), Stage(32, 20)])
        self.as_list = as_list

    def construct(self, x):
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features if self.as_list else tuple(features)


class DensePyramid(nn.Cell):
    """Features that are parts of a concatenation, and a sum without a norm behind it."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third = conv(3, 16, 3), Stage(16, 16, 1), Stage(32, 32, 1)

    def construct(self, x):
        first = self.first(x)
        second = self.second(first)
        whole = ops.concat((first, second), 1)
        return first, second, whole, self.third(whole) + whole


class Auxiliary(nn.Cell):
    """A second head while it trains."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Stage(3, 16), Stage(16, 32)
        self.head, self.auxiliary = Head(32, 10), Head(16, 10)
        self.output_shapes = [(3, 10), (3, 10)]

    def construct(self, x):
        features = self.first(x)
        x = self.head(self.second(features))
        if self.training:
            return x, self.auxiliary(features)
        return x


class PassedOn(nn.Cell):
    """Its input, a result, the input of a norm that is read inside, and the same one again."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu, self.last = conv(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), Stage(16, 8)

    def construct(self, x):
        y = self.conv(x)
        z = self.norm(y)
        return x, self.last(self.relu(z)), y, z, y


class Merge(nn.Cell):
    """A map and a skip of the same size."""

    def __init__(self):
        super().__init__()
        self.main, self.short = Stage(16, 32, 1), conv(24, 32, 1)

    def construct(self, x, skip):
        return self.main(x) + self.short(skip)


class Decoder(nn.Cell):
    """A map, brought to the size of the skip that is put beside it."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Stage(48, 16, 1), Stage(16, 16, 1)

    def construct(self, x, skip):
        x = ops.interpolate(x, size=skip.shape[2:], mode="nearest")
        return self.second(self.first(ops.concat((x, skip), 1)))


class Exchange(nn.Cell):
    """As HRNet's: two maps in, two out, each with the other's; the third argument is not used."""

    def __init__(self):
        super().__init__()
        self.fine, self.coarse = Stage(16, 16, 1), Stage(32, 32, 1)
        self.down, self.up, self.relu = conv(16, 32, 3, stride=2), conv(32, 16, 1), nn.ReLU()

    def construct(self, x, y, z):
        x, y = self.fine(x), self.coarse(y)
        raised = ops.interpolate(self.up(y), size=x.shape[2:], mode="nearest")
        return [self.relu(x + raised), self.relu(y + self.down(x)), y]


class Outside(nn.Cell):
    """A network that is stock, with parts that take and return several tensors."""

    def __init__(self):
        super().__init__()
        self.pyramid, self.elu = Pyramid(), nn.ELU()
        self.merge, self.reduce = Merge(), nn.Conv2d(20, 16, 1)
        self.widen = nn.Conv2d(32, 24, 1)

    def construct(self, x):
        _, middle, small = self.pyramid(self.elu(x))
        raised = ops.interpolate(self.elu(self.reduce(small)), size=middle.shape[2:], mode="nearest")
        return self.merge(raised, skip=self.elu(self.widen(middle)))


class Wide(nn.Cell):
    """Two convolutions, or one and a result of eight times the channels."""

    def __init__(self, several):
        super().__init__()
        self.first, self.second = conv(64, 64, 1), conv(64, 64, 3)
        self.relu, self.several = nn.ReLU(), several

    def construct(self, x):
        y = self.relu(self.first(x))
        if self.several:
            return y, self.relu(ops.concat((x, y, x, y, x, y, x, y), 1))
        return self.relu(self.second(y))


class OfOtherKind(nn.Cell):
    """kind: makes the result of a tensor."""

    def __init__(self, kind):
        super().__init__()
        self.conv, self.relu, self.kind = conv(3, 16, 3), nn.ReLU(), kind

    def construct(self, x):
        return self.kind(self.relu(self.conv(x)))


class OfUnknown(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = conv(3, 16, 3), nn.ReLU()

    def construct(self, x, y):
        return self.relu(self.conv(x)), self.relu(y)


class Neck(nn.Cell):
    """Takes a list, by its places or in a loop."""

    def __init__(self, loops):
        super().__init__()
        self.convs, self.loops = nn.CellList([conv(16, 16, 3), conv(32, 16, 3)]), loops

    def construct(self, features):
        if not self.loops:
            return self.convs[0](features[0]) + self.convs[1](features[1])
        total = 0.0
        for layer, one in zip(self.convs, features):
            total = total + layer(one)
        return total


class WithNeck(nn.Cell):
    def __init__(self, loops):
        super().__init__()
        self.first, self.second, self.elu, self.neck = Stage(3, 16), Stage(16, 32, 1), nn.ELU(), Neck(loops)

    def construct(self, x):
        x = self.elu(self.first(x))
        return self.neck([x, self.second(x)])


class Optional(nn.Cell):
    """A tensor is added where there is one."""

    def __init__(self):
        super().__init__()
        self.first, self.second = Stage(3, 16, 1), Stage(16, 16, 1)

    def construct(self, x, y=None):
        x = self.first(x)
        if y is not None:
            x = x + y
        return self.second(x)


class Step(nn.Cell):
    """The results, and the gradients of all inputs and parameters of sum(output * weights) over the outputs that are
    used.
    """

    def __init__(self, network, weights, used, inputs):
        super().__init__(auto_prefix=False)
        self.network, self.weights, self.used = network, weights, used
        places, parameters = tuple(range(inputs)), ParameterTuple(network.trainable_params())
        self.gradient = ops.value_and_grad(self.loss, places, parameters, True)

    def loss(self, *inputs):
        found = self.network(*inputs)
        if isinstance(found, Tensor):
            found = (found,)
        total = 0.0
        for k in self.used:
            total = total + (found[k] * self.weights[k]).sum()
        return total, found

    def construct(self, *inputs):
        return self.gradient(*inputs)


def images(*shapes):
    """Returns random tensors."""
    draw = np.random.default_rng(3)
    return [Tensor(draw.normal(size=shape).astype(np.float32)) for shape in shapes]


def outcome(network, inputs, used=None, training=True):
    """Returns everything that a network gives, as a dict of float64 arrays, and the type of its result.

    used: the outputs on which the loss depends; none: all. training: the mode in which gradients are taken.
    """
    fill(network, 0)
    network.set_train(False)
    results = network(*inputs)
    kind, results = type(results), [results] if isinstance(results, Tensor) else results
    found = {f"evaluation {k}": result for k, result in enumerate(results)}
    network.set_train(training)
    draw, weights = np.random.default_rng(1), []
    for shape in network.output_shapes if hasattr(network, "output_shapes") else [one.shape for one in results]:
        weights.append(Tensor(draw.normal(size=shape).astype(np.float32)))
    used = tuple(range(len(weights))) if used is None else used
    (_, results), (of_inputs, of_parameters) = Step(network, weights, used, len(inputs))(*inputs)
    found.update((f"training {k}", result) for k, result in enumerate(results))
    found.update((f"gradient of input {k}", gradient) for k, gradient in enumerate(of_inputs))
    found.update((f"gradient of {p.name}", g) for p, g in zip(network.trainable_params(), of_parameters))
    found.update((p.name, p) for p in network.get_parameters() if not p.requires_grad)
    return {name: tensor.asnumpy().astype(np.float64) for name, tensor in found.items()}, kind


def without_graph(network, inputs, *settings):
    """The same without a graph, in which nothing has to be compiled."""
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    try:
        return outcome(network, inputs, *settings)
    finally:
        mindspore.set_context(mode=mindspore.GRAPH_MODE)
