"""A GAN: two networks and two steps in one process; each step moves its own network alone."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from cellwright.engine import AdamW, TrainOneStep


class Layers(nn.Cell):
    def __init__(self, inputs, outputs, prefix):
        super().__init__()
        self.first, self.second = nn.Dense(inputs, 32), nn.Dense(32, outputs)
        self.update_parameters_name(prefix)  # both are in the generator's graph

    def construct(self, x):
        return self.second(ops.leaky_relu(self.first(x), 0.2))


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(4)
generator, critic = Layers(4, 2, "generator."), Layers(2, 1, "critic.")


def critic_loss(real, noise):
    fake = ops.stop_gradient(generator(noise))
    return ops.softplus(-critic(real)).mean() + ops.softplus(critic(fake)).mean(), fake


def generator_loss(noise):
    return ops.softplus(-critic(generator(noise))).mean()


def optimizer(network):
    return AdamW(network.trainable_params(), beta1=0.5, weight_decay=0.0)


train_critic = TrainOneStep(forward=critic_loss, optimizer=optimizer(critic))
train_generator = TrainOneStep(forward=generator_loss, optimizer=optimizer(generator))
draw = np.random.default_rng(0)
centre = np.array([2.0, -1.0], np.float32)
for number in range(400):
    noise = draw.normal(size=(64, 4)).astype(np.float32)
    real = centre + 0.3 * draw.normal(size=(64, 2)).astype(np.float32)
    fake = train_critic(real, noise, lr=2e-3).aux
    kept = critic.first.weight.asnumpy().copy()
    train_generator(noise, lr=2e-3)
    assert np.array_equal(critic.first.weight.asnumpy(), kept)
    if number % 100 == 0:
        print("generated around", fake.asnumpy().mean(axis=0))
found = fake.asnumpy().mean(axis=0)
print("generated around", found, "real around", centre)
assert np.abs(found - centre).max() < 0.7
