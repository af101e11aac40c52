"""Where a network saw its class: Grad-CAM on the last maps (Selvaraju et al., 2017, arXiv:1610.02391).

For a network that ends in a mean and a dense layer it is the class activation map of Zhou et al. (arXiv:1512.04150).
"""

import cv2
import mindspore as ms
import numpy as np
from mindspore import nn, ops

from cellwright.engine.step.normalise_images import Normalise

_SHOWN_SIDE = 448  # pictures smaller than this are drawn larger


class Parts(nn.Cell):
    """A network in two: uint8 (N, S, S, 3) -> (logits (N, K), last maps (N, C, h, w)), and the head's gradient."""

    def __init__(self, network, normalise):
        super().__init__(auto_prefix=False)
        self.normalise = Normalise(*normalise)
        self.features, self.head = take_apart(network)
        self.set_train(False)
        self._of_maps = ms.grad(Chosen(self.head))

    @ms.jit
    def construct(self, images):
        maps = self.features(self.normalise(images))
        return ops.cast(self.head(maps), ms.float32), ops.cast(maps, ms.float32)

    def gradient(self, maps, chosen):
        """Returns (N, C, h, w), the gradient of the chosen logits by the maps; chosen (N, K) is one where chosen."""
        return self._of_maps(ms.Tensor(maps), ms.Tensor(chosen)).asnumpy()


class Chosen(nn.Cell):
    """The sum of the chosen logits."""

    def __init__(self, head):
        super().__init__(auto_prefix=False)
        self.head = head

    def construct(self, maps, chosen):
        return (self.head(maps) * chosen).sum()


def take_apart(network):
    """Returns (features, head) of one of the four networks, which is changed: the head is all behind the last maps.

    Another network stays whole: its head is nothing.
    """
    if network.network_name == "tinydarknet":
        cells = list(network.cells())
        return nn.SequentialCell(cells[:-1]), nn.SequentialCell(cells[-1:])
    owner = network.head if network.network_name == "densenet121" else network
    names = {"densenet121": ("mean", "fc"), "genet": ("mean", "end_point"), "vgg16": ("flatten", "classifier")}
    if network.network_name not in names:
        return network, nn.Identity()
    names = names[network.network_name]
    head = nn.SequentialCell([getattr(owner, name) for name in names])
    for name in names:
        setattr(owner, name, nn.Identity())
    return network, head


def activation_maps(maps, gradient):
    """Returns (N, h, w) float32 from 0 to 1 of the last maps (N, C, h, w) and the chosen logits' gradient by them."""
    weights = gradient.mean(axis=(2, 3), keepdims=True)
    heat = np.maximum((maps * weights).sum(axis=1), 0)
    return heat / np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-12)


def overlay(pixels, transform, heat):
    """Returns the picture (H, W, 3), RGB, under the heat (h, w) of its evaluated part; what was cut off is darker."""
    height, width = pixels.shape[:2]
    side = transform.image_size
    rows, columns = transform.resized(height, width)
    top, left = (rows - side) // 2, (columns - side) // 2
    around = (top, rows - side - top, left, columns - side - left)
    heat = cv2.resize(heat, (side, side), interpolation=cv2.INTER_CUBIC)
    heat = cv2.copyMakeBorder(heat, *around, cv2.BORDER_REPLICATE)
    seen = cv2.copyMakeBorder(np.ones((side, side), np.float32), *around, cv2.BORDER_CONSTANT, value=0)
    larger = max(1, -(-_SHOWN_SIDE // max(height, width)))
    size = (width * larger, height * larger)
    seen = cv2.resize(seen, size, interpolation=cv2.INTER_NEAREST)[..., None]
    heat = np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    colours = cv2.applyColorMap((255 * heat).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1].astype(np.float32)
    picture = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR).astype(np.float32)
    share = 0.15 + 0.45 * heat[..., None]
    mixed = picture * (1 - share) + colours * share
    return np.clip(np.where(seen > 0, mixed, 0.4 * picture), 0, 255).astype(np.uint8)
