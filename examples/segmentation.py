"""Segmentation: batches are dicts of pictures and masks, the loss is over pixels, the metric is a mean IoU."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops

from cellwright.engine import AdamW, Metric, MetricEvaluator, Trainer, TrainOneStep


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, pad_mode="same")
        self.second = nn.Conv2d(8, 1, 3, pad_mode="same")

    def construct(self, x):
        return self.second(ops.relu(self.first(x)))


class MeanIoU(Metric):
    """Of pictures against background: sums are pixels in both, in either, for each of the two classes."""

    def sums(self, outputs, batch):
        found, true = outputs > 0, batch[0]["mask"] > 0
        return np.array([[(a & b).sum(), (a | b).sum()] for a, b in ((found, true), (~found, ~true))])

    def result(self, total):
        return float((total[:, 0] / total[:, 1]).mean())


def batch(seed):
    """A bright square somewhere in each noisy picture, and where it is; pixels of `ignore` count for nothing."""
    draw = np.random.default_rng(seed)
    mask = np.zeros((8, 1, 24, 24), np.uint8)
    for picture, (top, left) in zip(mask, draw.integers(0, 12, (8, 2))):
        picture[0, top : top + 12, left : left + 12] = 1
    image = (mask + draw.normal(0, 0.3, mask.shape)).astype(np.float32)
    return {"image": image, "mask": mask, "ignore": draw.random(mask.shape) < 0.05}


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(5)
network = Network()


def forward(batch):
    logits, true = network(batch["image"]), ops.cast(batch["mask"], ms.float32)
    counted = ops.cast(ops.logical_not(batch["ignore"]), ms.float32)
    return ((ops.softplus(logits) - true * logits) * counted).sum() / counted.sum()


def outputs(batch):
    return network(batch["image"])


step = TrainOneStep(forward=forward, optimizer=AdamW(network.trainable_params()), count=lambda b: (~b["ignore"]).sum())
evaluator = MetricEvaluator(outputs, {"mean IoU": MeanIoU()})
batches = [batch(seed) for seed in range(30)]
trainer = Trainer(step, batches, [0.02] * 60, epochs=2, evaluator=evaluator, eval_batches=[batch(99)])
assert trainer.run().values["mean IoU"] > 0.8
