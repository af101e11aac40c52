"""Segmentation: pictures and masks from our loader, cut and mirrored alike; a loss over pixels, a mean IoU."""

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from squares import Squares

from cellwright.dataloader import EvalTransform, Loader, Mask, TrainTransform, start_forkserver
from cellwright.engine import AdamW, Metric, MetricEvaluator, Trainer, TrainOneStep

FIELDS = (Mask(fill=255),)


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, pad_mode="same")
        self.second = nn.Conv2d(8, 1, 3, pad_mode="same")

    def construct(self, images):
        x = (ops.cast(images, ms.float32).transpose(0, 3, 1, 2) - 100.0) / 50.0
        return self.second(ops.relu(self.first(x)))[:, 0]


class MeanIoU(Metric):
    """Of squares against background: sums are pixels in both, in either, for each of the two classes."""

    def sums(self, outputs, batch):
        mask = batch[3]["mask"]
        counted = (mask < 255) & (batch[2] > 0)[:, None, None]
        pairs = ((outputs > 0, mask == 1), (outputs <= 0, mask == 0))
        return np.array([[(a & b & counted).sum(), ((a | b) & counted).sum()] for a, b in pairs])

    def result(self, total):
        return float((total[:, 0] / total[:, 1]).mean())


start_forkserver()
ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(5)
network = Network()


def forward(images, labels, weights, fields):
    logits, true = network(images), ops.cast(fields["mask"], ms.float32)
    counted = ops.cast(true < 2.0, ms.float32)
    return ((ops.softplus(logits) - true * logits) * counted).sum() / counted.sum()


def outputs(images, labels, weights, fields):
    return network(images)


step = TrainOneStep(forward=forward, optimizer=AdamW(network.trainable_params()))
evaluator = MetricEvaluator(outputs, {"mean IoU": MeanIoU()})
training, held_back = TrainTransform(32, crop_scale=(0.5, 1), fields=FIELDS), EvalTransform(32, "direct", fields=FIELDS)
with Loader(Squares(), 8, training, workers=2) as batches, Loader(Squares(), 8, held_back, workers=1) as known:
    trainer = Trainer(step, batches, [0.02] * 60, epochs=2, evaluator=evaluator, eval_batches=known)
    assert trainer.run().values["mean IoU"] > 0.8
