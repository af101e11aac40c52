"""A scenario of ranks.py: a shared update that gets gradients as factors, beside the same steps with whole ones."""

import zlib

import numpy as np
from mindspore import Tensor, nn, ops
from small_net import NORMALISE, images_and_labels

from cellwright.engine import AdamW, Momentum, SoftmaxCrossEntropy, TrainOneStep
from cellwright.kernels.nodes import AdamWStep, FactoredGradients, MomentumStep, MpiAllreduce, silence

OPTIMIZERS = {"momentum": (Momentum, MomentumStep), "adamw": (AdamW, AdamWStep)}


class DenseNet(nn.Cell):
    """Three dense layers, of which the second one may run twice."""

    def __init__(self, twice):
        super().__init__()
        draw = np.random.default_rng(4)

        def dense(inputs, outputs, **more):
            weight = Tensor(draw.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32))
            return nn.Dense(inputs, outputs, weight_init=weight, bias_init="zeros", **more)

        self.first, self.second, self.third = dense(192, 208, activation="relu"), dense(208, 208), dense(208, 10)
        self.twice = twice

    def construct(self, x):
        x = ops.relu(self.second(self.first(ops.flatten(x))))
        return self.third(ops.relu(self.second(x)) if self.twice else x)


def make(world, kind, factored, twice=False, **settings):
    network, allreduce = DenseNet(twice), MpiAllreduce(world.comm)
    optimizer, kernel = OPTIMIZERS[kind]
    optimizer = optimizer(network.trainable_params(), kernel=kernel, shard=allreduce.group)
    kept = FactoredGradients(network, 4, least=10_000) if factored else None
    assert kept is None or kept.weights == [network.first.weight, network.second.weight]
    about = dict(normalise=NORMALISE, allreduce=allreduce, factored=kept, **settings)
    return TrainOneStep(network, SoftmaxCrossEntropy(10), optimizer, **about)


def batch(world, number):
    return images_and_labels(4 + number % 2, seed=10 * number + world.rank)  # another number of images is compiled anew


def train(world, step):
    """Six steps: the losses and a number for the weights, and the gradients of a batch before and after them."""
    before = step.gradients_of(*batch(world, 0))
    losses = [step(*batch(world, number), lr=0.05).loss for number in range(6)]
    seen = [before, step.gradients_of(*batch(world, 0))]
    seen = [zlib.crc32(b"".join(gradient.tobytes() for gradient in one.values())) for one in seen]
    held = [*step.network.get_parameters(), *step.state_parameters()]
    return losses, zlib.crc32(b"".join(p.asnumpy().tobytes() for p in held)), seen


def factored(world, folder):
    """The steps with factors and without, of each optimizer; the same where no other rank is heard of; and what a layer
    that runs twice ends in.
    """
    found = {kind: [train(world, make(world, kind, each)) for each in (True, False)] for kind in OPTIMIZERS}
    half = make(world, "momentum", True, amp_level="O2", amp_dtype="float16")  # its gradients are whole
    found["half"] = [half(*batch(world, number), lr=0.05).loss for number in range(2)]
    with silence():
        found["silent"] = [train(world, make(world, "momentum", each)) for each in (True, False)]
    try:
        train(world, make(world, "momentum", True, twice=True))
        found["twice"] = "went on"
    except ValueError as error:
        found["twice"] = str(error)
    return found
