"""Mixup (Zhang et al. 2018): labels are shares of classes, float32, and no cast rounds them."""

import mindspore as ms
import numpy as np
from mindspore import nn

from cellwright.engine import Momentum, SoftmaxCrossEntropy, TrainOneStep

CLASSES = 3


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Dense(8, CLASSES)
        self.relu = nn.ReLU()

    def construct(self, x):
        return self.head(self.relu(self.conv(x)).mean((2, 3)))


def mixed(images, labels, draw):
    """Each picture with a share of another one, and its label alike."""
    share = draw.beta(0.4, 0.4, (len(labels), 1)).astype(np.float32)
    other = draw.permutation(len(labels))
    wanted = np.eye(CLASSES, dtype=np.float32)[labels]
    blend = share[:, :, None, None] * images + (1 - share[:, :, None, None]) * images[other]
    return blend.astype(np.uint8), share * wanted + (1 - share) * wanted[other]


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(3)
network = Network()
step = TrainOneStep(
    network, SoftmaxCrossEntropy(CLASSES), Momentum(network.trainable_params()), normalise=((128.0,) * 3, (64.0,) * 3)
)
draw = np.random.default_rng(0)
losses = []
for _ in range(60):
    labels = draw.integers(0, CLASSES, 32)
    images = draw.integers(0, 160, (32, 16, 16, 3)) + 90 * np.eye(CLASSES, dtype=np.int64)[labels][:, None, None]
    losses.append(step(*mixed(images, labels, draw), lr=0.1).loss)
print("loss", losses[0], np.mean(losses[-10:]))
assert np.mean(losses[-10:]) < 0.9 * losses[0]
