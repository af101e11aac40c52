"""Our kernels in a plain MindSpore loop. What differs from the stock loop is marked, with the stock line beside it."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn

from cellwright.engine import Momentum  # +
from cellwright.kernels.compiler import accelerate  # +


def block(inputs, outputs):
    conv = nn.Conv2d(inputs, outputs, 3, pad_mode="pad", padding=1, has_bias=False, weight_init="HeNormal")
    return nn.SequentialCell([conv, nn.BatchNorm2d(outputs), nn.ReLU()])


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body = nn.SequentialCell([block(3, 16), block(16, 32), nn.AdaptiveAvgPool2d(1), nn.Flatten()])
        self.head = nn.Dense(32, 3)

    def construct(self, x):
        return self.head(self.body(x))


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(1)
network = Network()
accelerate(network)  # +
network.set_train()
loss_function = nn.CrossEntropyLoss()
optimizer = Momentum(network.trainable_params(), lr=0.05)  # - nn.Momentum(network.trainable_params(), 0.05, 0.9)


def forward(images, labels):
    return loss_function(network(images), labels)


value_and_grad = ms.value_and_grad(forward, None, network.trainable_params())


@ms.jit
def train(images, labels):
    loss, gradients = value_and_grad(images, labels)
    optimizer(gradients)
    return loss


draw = np.random.default_rng(0)
labels = draw.integers(0, 3, 32).astype(np.int32)
images = draw.normal(size=(32, 3, 16, 16)).astype(np.float32)
images[np.arange(32), labels] += 1.0
losses = [float(train(Tensor(images), Tensor(labels)).asnumpy()) for _ in range(20)]
print("losses", losses[0], losses[-1])
assert losses[-1] < 0.5 * losses[0]
