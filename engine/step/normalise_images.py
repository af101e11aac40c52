"""The first node of the graph: bytes as the loader delivers them -> what a network takes."""

import mindspore as ms
import numpy as np
from mindspore import Tensor, nn, ops


class Normalise(nn.Cell):
    """Returns (x - mean) / std of uint8 (N, H, W, C) images as float32 (N, C, H, W).

    mean, std: one number per channel, in the units of the bytes (0 to 255).
    """

    def __init__(self, mean, std):
        super().__init__(auto_prefix=False)
        mean, std = np.asarray(mean, np.float64), np.asarray(std, np.float64)
        if mean.shape != std.shape or mean.ndim != 1:
            raise ValueError(f"normalise = {mean.shape} and {std.shape} numbers: one mean and one std per channel")
        if not (std > 0).all():
            raise ValueError(f"std = {std.tolist()}: must be > 0 (normalise)")
        self.factor = Tensor((1 / std).reshape(1, -1, 1, 1), ms.float32)
        self.offset = Tensor((-mean / std).reshape(1, -1, 1, 1), ms.float32)

    def construct(self, images):
        # Transposed as bytes: a quarter of the traffic.
        return ops.cast(ops.transpose(images, (0, 3, 1, 2)), ms.float32) * self.factor + self.offset
