"""Softmax cross entropy with the label smoothing of the four recipes."""

import mindspore as ms
from mindspore import nn, ops


class SoftmaxCrossEntropy(nn.Cell):
    """Returns the mean cross entropy of a batch, a float32 scalar; `per_sample` returns it for each sample.

    Inputs: logits (N, K) of any float type; labels (N,) int32, or (N, K) of a float type, the share of every class
    (mixup, distillation); weights (N,) float32 (absent: all one). The mean is sum(weight * loss) / sum(weight), 0 for a
    batch without weight.

    smooth: share s taken from the true class (Szegedy et al. 2016); the target is 1 - s on the true class and
    s / (K-1) or s / K on the others, by `smooth_off` ("K-1" or "K"). With "K" the true class does not get the
    share s / K back, so targets sum to 1 - s/K: that is how GENet was trained. s = 0 is the plain, sparse loss. Shares
    of classes are smoothed as the labels are of which they are a mixture.
    """

    def __init__(self, num_classes: int, smooth: float = 0.0, smooth_off: str = "K-1"):
        super().__init__(auto_prefix=False)
        if num_classes < 2:
            raise ValueError(f"num_classes = {num_classes}: at least 2 classes are needed (SoftmaxCrossEntropy)")
        if not 0.0 <= smooth < 1.0:
            raise ValueError(f"smooth = {smooth}: must be in [0, 1) (SoftmaxCrossEntropy)")
        if smooth_off not in ("K-1", "K"):
            raise ValueError(f"smooth_off = {smooth_off!r}: must be 'K-1' or 'K' (SoftmaxCrossEntropy)")
        self.num_classes = num_classes
        self.smooth, self.smooth_off = smooth, smooth_off
        self.off = smooth / (num_classes - 1 if smooth_off == "K-1" else num_classes)
        self.on = 1.0 - smooth

    def per_sample(self, logits, labels):
        """Returns the loss of every sample, (N,) float32."""
        logits = ops.cast(logits, ms.float32)
        # The shift keeps exp() in range for any logits; its gradient is zero in exact arithmetic.
        shifted = logits - ops.stop_gradient(logits.max(axis=1, keepdims=True))
        normaliser = ops.log(ops.exp(shifted).sum(axis=1))
        if labels.ndim == 2:
            targets = (self.on - self.off) * ops.cast(labels, ms.float32) + self.off
            return normaliser * targets.sum(axis=1) - (shifted * targets).sum(axis=1)
        one_hot = ops.cast(ops.expand_dims(labels, 1) == ops.arange(0, self.num_classes, 1, dtype=ms.int32), ms.float32)
        target = (self.on - self.off) * (shifted * one_hot).sum(axis=1)
        if self.off == 0.0:
            return normaliser - target
        # sum over classes of log p = sum(shifted) - K * normaliser
        everywhere = self.off * (shifted.sum(axis=1) - self.num_classes * normaliser)
        return (self.on - self.off) * normaliser - target - everywhere

    def construct(self, logits, labels, weights=None):
        losses = self.per_sample(logits, labels)
        if weights is None:
            return losses.mean()
        total = weights.sum()
        return (losses * weights).sum() / ops.maximum(total, ops.cast(1e-12, ms.float32))
