"""Small networks out of the layers that programs know, and what a step gives for them with and without programs."""

import numpy as np
from mindspore import ParameterTuple, Tensor, nn, ops

from cellwright.nets.genet import GlobalGather


def conv(before, after, kernel, **settings):
    return nn.Conv2d(before, after, kernel, weight_init="normal", **{"pad_mode": "same", "has_bias": False, **settings})


class DenseStep(nn.Cell):
    def __init__(self, channels, growth):
        super().__init__()
        self.norm, self.relu, self.conv = nn.BatchNorm2d(channels), nn.ReLU(), conv(channels, growth, 3)

    def construct(self, x):
        return ops.concat((x, self.conv(self.relu(self.norm(x)))), 1)


class GlobalMean(nn.Cell):
    def __init__(self, keep_dims=False):
        super().__init__()
        self.mean = ops.ReduceMean(keep_dims=keep_dims)

    def construct(self, x):
        return self.mean(x, (2, 3))


class Gated(nn.Cell):
    """Residual block with a gate over the branch: relu(branch * sigmoid(gate(branch)) + shortcut)."""

    def __init__(self, before, after, extent, weighted):
        super().__init__()
        self.conv, self.norm = conv(before, after, 3), nn.BatchNorm2d(after)
        self.down, self.down_norm = conv(before, after, 1), nn.BatchNorm2d(after)
        self.gather = GlobalGather(after, extent) if weighted else GlobalMean(keep_dims=True)
        self.squeeze, self.relu, self.excite = conv(after, 16, 1), nn.ReLU(), conv(16, after, 1)
        self.sigmoid = nn.Sigmoid()

    def construct(self, x):
        out = self.norm(self.conv(x))
        gate = self.excite(self.relu(self.squeeze(self.gather(out))))
        return self.relu(out * self.sigmoid(gate) + self.down_norm(self.down(x)))


class Residual(nn.Cell):
    """relu(norm(conv(x)) + x), where x is used three times."""

    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm, self.relu = conv(channels, channels, 3), nn.BatchNorm2d(channels), nn.ReLU()

    def construct(self, x):
        return self.relu(self.norm(self.conv(x)) + x)


class Head(nn.Cell):
    def __init__(self, channels, classes):
        super().__init__()
        self.mean, self.fc = GlobalMean(), nn.Dense(channels, classes)

    def construct(self, x):
        return self.fc(self.mean(x))


SMALL = {
    "conv 3x3 of images": lambda: nn.SequentialCell([conv(3, 16, 3)]),
    "conv 7x7, stride 2, same": lambda: nn.SequentialCell([conv(3, 16, 7, stride=2), nn.ReLU()]),
    "conv 3x3 with bias, pad, odd channels": lambda: nn.SequentialCell(
        [conv(3, 20, 3, pad_mode="pad", padding=1, has_bias=True), nn.ReLU(), conv(20, 12, 1)]
    ),
    "conv of many channels": lambda: nn.SequentialCell([conv(24, 32, 3, stride=2), conv(32, 16, 1)]),
    "norm, leaky": lambda: nn.SequentialCell(
        [
            conv(3, 16, 3),
            nn.BatchNorm2d(16, eps=1e-3, momentum=0.8),
            nn.LeakyReLU(0.2),
            conv(16, 24, 1),
            nn.BatchNorm2d(24),
        ]
    ),
    "norm of the input": lambda: nn.SequentialCell([nn.BatchNorm2d(16), nn.ReLU(), conv(16, 16, 3)]),
    "pools": lambda: nn.SequentialCell(
        [conv(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, "same"), conv(16, 16, 1), nn.MaxPool2d(2, 2)]
    ),
    "average pool": lambda: nn.SequentialCell(
        [conv(3, 16, 3), nn.AvgPool2d(2, 2), conv(16, 16, 3), nn.BatchNorm2d(16)]
    ),
    "dense block": lambda: nn.SequentialCell(
        [
            conv(3, 16, 3),
            nn.MaxPool2d(2, 2),
            DenseStep(16, 16),
            DenseStep(32, 16),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            Head(48, 10),
        ]
    ),
    "concatenation as the result": lambda: nn.SequentialCell([conv(3, 16, 3), DenseStep(16, 16), DenseStep(32, 32)]),
    "residual": lambda: nn.SequentialCell([conv(3, 16, 3), Residual(16), Residual(16), Head(16, 10)]),
    "gate over the mean": lambda: nn.SequentialCell([conv(3, 16, 3), Gated(16, 32, 12, False), Head(32, 7)]),
    "gate over a gather": lambda: nn.SequentialCell([conv(3, 16, 3), Gated(16, 32, 12, True), Gated(32, 32, 12, True)]),
}


def channels_of(network):
    """The channels of a network's input."""
    first = network.trainable_params()[0]
    return first.shape[1] if len(first.shape) == 4 else first.shape[0]


def fill(network, seed):
    """Sets all parameters to draws from `seed`."""
    draw = np.random.default_rng(seed)
    for parameter in network.get_parameters():
        shape = parameter.shape
        if parameter.name.endswith(("gamma", "moving_variance")):
            values = draw.uniform(0.5, 1.5, shape)
        else:
            values = draw.normal(0, np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1, shape)
        parameter.set_data(Tensor(values.astype(np.float32)))


class Weighted(nn.Cell):
    def __init__(self, network, weights):
        super().__init__(auto_prefix=False)
        self.network, self.weights = network, weights

    def construct(self, x):
        return (self.network(x) * self.weights).sum()


class Gradients(nn.Cell):
    def __init__(self, function, parameters):
        super().__init__(auto_prefix=False)
        self.function, self.parameters = function, ParameterTuple(parameters)
        self.gradient = ops.GradOperation(get_all=True, get_by_list=True)

    def construct(self, x):
        return self.gradient(self.function, self.parameters)(x)


def outcome(network, x, seed=0):
    """Returns everything that a network gives for x, as a dict of float64 arrays."""
    fill(network, seed)
    network.set_train(False)
    found = {"evaluation": network(Tensor(x))}
    network.set_train(True)
    weights = np.random.default_rng(seed + 1).normal(size=found["evaluation"].shape).astype(np.float32)
    (gradient,), gradients = Gradients(Weighted(network, Tensor(weights)), network.trainable_params())(Tensor(x))
    found["gradient of the input"] = gradient
    found.update((f"gradient of {p.name}", g) for p, g in zip(network.trainable_params(), gradients))
    found.update((p.name, p) for p in network.get_parameters() if not p.requires_grad)
    found = {name: tensor.asnumpy().astype(np.float64) for name, tensor in found.items()}
    found["training"] = network(Tensor(x)).asnumpy().astype(np.float64)
    return found


def difference(expected, found):
    """Returns the largest relative distance between arrays of the same name, and that name."""
    assert list(expected) == list(found)
    distances = []
    for name, array in expected.items():
        assert array.shape == found[name].shape, name
        distances.append((float(np.linalg.norm(array - found[name]) / (np.linalg.norm(array) + 1e-12)), name))
    return max(distances)


def images(network, count=5, size=12):
    """Returns random inputs for a network."""
    return np.random.default_rng(7).normal(size=(count, channels_of(network), size, size)).astype(np.float32)
