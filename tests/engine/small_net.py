"""A small network and data for the engine's tests."""

import numpy as np
from mindspore import Tensor, nn, ops

from cellwright.engine import Momentum, SoftmaxCrossEntropy, TrainOneStep


class SmallNet(nn.Cell):
    """Convolution, BatchNorm (unless norm=False), mean, dense: 4x4x3 images or larger, 10 classes."""

    def __init__(self, seed=0, norm=True, channels=6, classes=10):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.conv = nn.Conv2d(3, channels, 3, pad_mode="same", has_bias=False, weight_init="zeros")
        self.norm = nn.BatchNorm2d(channels, eps=1e-5, momentum=0.9) if norm else None
        self.head = nn.Dense(channels, classes, weight_init="zeros", bias_init="zeros")
        for parameter, scale in ((self.conv.weight, 0.3), (self.head.weight, 0.5)):
            values = rng.normal(0, scale, parameter.shape).astype(np.float32)
            parameter.set_data(Tensor(values))

    def construct(self, x):
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return self.head(ops.relu(x).mean((2, 3)))


class ConvNet(nn.Cell):
    """Two convolutions with BatchNorm and a dense layer, all as cells: a network that can be fused into one kernel."""

    def __init__(self):
        super().__init__()
        rng = np.random.default_rng(5)

        def conv(inputs, outputs):
            weight = Tensor(rng.normal(0, 0.3, (outputs, inputs, 3, 3)).astype(np.float32))
            return nn.Conv2d(inputs, outputs, 3, pad_mode="pad", padding=1, weight_init=weight, has_bias=False)

        norms = [nn.BatchNorm2d(16, eps=1e-5, momentum=0.9) for _ in range(2)]
        self.body = nn.SequentialCell([conv(3, 16), norms[0], nn.ReLU(), conv(16, 16), norms[1], nn.ReLU()])
        self.head = nn.Dense(
            16, 10, weight_init=Tensor(rng.normal(0, 0.3, (10, 16)).astype(np.float32)), bias_init="zeros"
        )

    def construct(self, x):
        return self.head(self.body(x).mean((2, 3)))


def images_and_labels(count, seed=0, size=8, classes=10):
    """Returns uint8 images (count, size, size, 3) and int32 labels (count,)."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8), rng.integers(0, classes, count).astype(
        np.int32
    )


def batches(count, size, seed=0):
    """Returns a list of `count` batches of `size` samples."""
    images, labels = images_and_labels(count * size, seed)
    return [(images[i : i + size], labels[i : i + size]) for i in range(0, count * size, size)]


NORMALISE = ((120.0, 115.0, 100.0), (60.0, 61.0, 62.0))


def step_of(network, optimizer=None, **settings):
    """Returns the train step of a network for 10 classes and such images, by default with momentum 0.9."""
    optimizer = optimizer or Momentum(network.trainable_params(), 0.9)
    return TrainOneStep(network, SoftmaxCrossEntropy(10), optimizer, normalise=NORMALISE, **settings)


class ChannelMeans(nn.Cell):
    """Logits are the means of the channels: no parameter, so a test can choose the logits."""

    def construct(self, x):
        return x.mean((2, 3))


class OtherDropout(nn.Dropout):
    """One that is made otherwise, as libraries have it, and draws alike."""

    def __init__(self, share):
        super().__init__(p=share)


class DropNet(nn.Cell):
    """Means of the channels, a dense layer, dropout of a half, a dense layer."""

    def __init__(self, dropout=None):
        super().__init__()
        rng = np.random.default_rng(3)
        self.first = nn.Dense(3, 32, weight_init=Tensor(rng.normal(size=(32, 3)).astype(np.float32)), bias_init="zeros")
        self.drop = dropout or nn.Dropout(p=0.5)
        self.second = nn.Dense(
            32, 10, weight_init=Tensor(rng.normal(size=(10, 32)).astype(np.float32)), bias_init="zeros"
        )

    def construct(self, x):
        return self.second(self.drop(ops.relu(self.first(x.mean((2, 3))))))
