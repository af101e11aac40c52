"""AdamW with groups, saved in mid-run and resumed to the bit."""

import tempfile

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from cellwright.engine import AdamW, Checkpoints, LossScale, ParameterGroup, Position, SoftmaxCrossEntropy, TrainOneStep
from cellwright.kernels.nodes import AdamWStep


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3), nn.Dense(8, 4)
        self.drop = nn.Dropout(p=0.2)

    def construct(self, x):
        return self.head(self.drop(ops.relu(self.body(x)).mean((2, 3))))


def make_step():
    """A pretrained body would move slowly, the new head ten times as fast; norms and biases do not decay."""
    ms.set_seed(6)
    network = Network()
    groups = [ParameterGroup("head.*", lr_factor=10.0), ParameterGroup("body.weight", weight_decay=0.2)]
    optimizer = AdamW(network.trainable_params(), weight_decay=0.05, groups=groups, kernel=AdamWStep)
    scale = LossScale.dynamic(init=256, window=3)
    return TrainOneStep(network, SoftmaxCrossEntropy(4), optimizer, loss_scale=scale, ema=0.99, seed=1)


def train(step, first, last):
    for number in range(first, last):
        draw = np.random.default_rng(number)
        images = draw.normal(size=(16, 3, 12, 12)).astype(np.float32)
        step(images, draw.integers(0, 4, 16), lr=1e-3)


ms.set_context(mode=ms.GRAPH_MODE)
straight, stopped, resumed = make_step(), make_step(), make_step()
train(straight, 0, 10)
train(stopped, 0, 5)
with tempfile.TemporaryDirectory() as folder:
    checkpoints = Checkpoints(folder)
    checkpoints.save(stopped, Position(0, 5))
    position = checkpoints.restore(resumed)
train(resumed, position.batch, 10)
for a, b in zip(
    [*straight.network.get_parameters(), *straight.state_parameters()],
    [*resumed.network.get_parameters(), *resumed.state_parameters()],
):
    assert np.array_equal(a.asnumpy(), b.asnumpy()), a.name
print("equal to the bit after 10 steps, with a stop after 5")
