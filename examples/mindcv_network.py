"""MindCV's ResNet-18 tuned to new classes in our trainer: kernels, frozen norms, rates by depth, a new head."""

import tempfile

import mindspore as ms
import numpy as np
from mindcv.models import create_model

from cellwright.engine import (
    Checkpoints,
    Evaluator,
    Momentum,
    ParameterGroup,
    SoftmaxCrossEntropy,
    Trainer,
    TrainOneStep,
)  # fmt: skip
from cellwright.kernels.compiler import accelerate, explain
from cellwright.kernels.nodes import MomentumStep
from cellwright.nets import freeze_batch_norm, load_pretrained

NORMALISE = (110.0,) * 3, (60.0,) * 3


def batches(count, seed):
    """Pictures whose brightest channel is their class."""
    draw = np.random.default_rng(seed)
    for _ in range(count):
        labels = draw.integers(0, 3, 16)
        images = draw.integers(0, 160, (16, 64, 64, 3)) + 60 * np.eye(3, dtype=np.int64)[labels][:, None, None]
        yield images.astype(np.uint8), labels.astype(np.int32)


def tuned(weights, classes):
    """Returns MindCV's network with the weights of a file, but for its head, and with its norms frozen."""
    network = create_model("resnet18", num_classes=classes)
    print(*load_pretrained(network, weights, head="classifier."))
    print(freeze_batch_norm(network, head="classifier."), "norms are frozen")
    return network


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(1)
np.random.seed(1)
with tempfile.TemporaryDirectory() as folder:
    ms.save_checkpoint(create_model("resnet18", num_classes=10), f"{folder}/weights.ckpt")
    network, loss = tuned(f"{folder}/weights.ckpt", 3), SoftmaxCrossEntropy(3)
    groups = [ParameterGroup(f"layer{stage}.*", lr_factor=0.5 ** (5 - stage)) for stage in (1, 2, 3, 4)]
    groups.append(ParameterGroup("conv1.*", lr_factor=0.5**5))
    optimizer = Momentum(network.trainable_params(), groups=groups, kernel=MomentumStep)
    accelerate(network)
    print(explain(network, (16, 3, 64, 64)))
    step = TrainOneStep(network, loss, optimizer, normalise=NORMALISE)
    evaluation = {"evaluator": Evaluator(network, loss, normalise=NORMALISE), "eval_batches": list(batches(2, 9))}
    checkpoints = Checkpoints(f"{folder}/checkpoints")
    trainer = Trainer(step, list(batches(8, 1)), [0.02] * 16, epochs=2, checkpoints=checkpoints, **evaluation)
    assert trainer.run().top1 > 0.9
