"""A network of your own, as MindCV writes them, in our trainer: kernels, evaluation, checkpoints, a callback."""

import tempfile

import mindspore as ms
import numpy as np
from mindspore import nn

from cellwright.engine import Callback, Checkpoints, Evaluator, Momentum, SoftmaxCrossEntropy, Trainer, TrainOneStep
from cellwright.kernels.compiler import accelerate
from cellwright.kernels.nodes import MomentumStep


class Block(nn.Cell):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, pad_mode="pad", padding=1, has_bias=False)
        self.norm = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()

    def construct(self, x):
        return self.relu(self.norm(self.conv(x)) + x)


class Network(nn.Cell):
    def __init__(self, classes):
        super().__init__()
        conv = nn.Conv2d(3, 16, 3, 2, pad_mode="pad", padding=1)
        self.stem = nn.SequentialCell([conv, nn.BatchNorm2d(16), nn.ReLU()])
        self.blocks = nn.SequentialCell([Block(16), Block(16)])
        self.head = nn.Dense(16, classes)

    def construct(self, x):
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Told(Callback):
    def on_checkpoint(self, trainer, path):
        print("checkpoint", path.name, "top-1", trainer.evaluation.top1)


def batches(count, seed):
    """Pictures whose brightest channel is their class."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        labels = draw.integers(0, 3, 16)
        images = draw.integers(0, 160, (16, 32, 32, 3)) + 60 * np.eye(3, dtype=np.int64)[labels][:, None, None]
        yield images.astype(np.uint8), labels.astype(np.int32)


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(1)
network, loss, normalise = accelerate(Network(3)), SoftmaxCrossEntropy(3), ((110.0,) * 3, (60.0,) * 3)
step = TrainOneStep(network, loss, Momentum(network.trainable_params(), kernel=MomentumStep), normalise=normalise)
evaluation = {"evaluator": Evaluator(network, loss, normalise=normalise), "eval_batches": list(batches(2, 9))}
with tempfile.TemporaryDirectory() as folder:
    files = {"checkpoints": Checkpoints(f"{folder}/checkpoints"), "folder": folder}
    trainer = Trainer(step, list(batches(8, 1)), [0.02] * 16, epochs=2, callbacks=[Told()], **files, **evaluation)
    assert trainer.run().top1 > 0.9
