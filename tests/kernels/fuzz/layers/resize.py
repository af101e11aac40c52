"""Images of another size."""

import numpy as np
import numpy_tape as tape
from fuzz.layers.kind import Impossible, Kind, maps

MODES = {
    "nearest": "mode='nearest'",
    "nearest-exact": "mode='nearest-exact'",
    "bilinear": "mode='bilinear'",
    "corners": "mode='bilinear', align_corners=True",
}


def _rows(inside, outside, mode):
    """Returns the share of each pixel in each one of the result, (outside, inside); places in float32, as the framework
    has them.
    """
    scale = np.float32(inside) / np.float32(outside)
    if mode == "corners" and outside > 1:
        scale = np.float32(inside - 1) / np.float32(outside - 1)
    places = np.arange(outside, dtype=np.float32)
    if mode in ("bilinear", "nearest-exact"):
        places = places + np.float32(0.5)
    places = places * scale - np.float32(0.5 if mode == "bilinear" else 0)
    below = np.floor(places)
    share = places - below if mode in ("bilinear", "corners") else np.zeros_like(places)
    found = np.zeros((outside, inside))
    for row, first, part in zip(found, below.astype(int), share):
        row[np.clip(first, 0, inside - 1)] += 1 - part
        row[np.clip(first + 1, 0, inside - 1)] += part
    return found


class Resize(Kind):
    def shape(self, step, shapes):
        images, channels, *inside = maps(shapes)
        size = self._size(step, inside)
        if min(size) < 1:
            raise Impossible("an image without pixels")
        return images, channels, *size

    def _size(self, step, inside):
        return [int(extent * step.factor) for extent in inside] if step.factor else step.size

    def call(self, step, name, args):
        size = f"size={tuple(step.size)}"
        if step.factor:
            size = f"scale_factor={float(step.factor)}, recompute_scale_factor=True"
        return f"ops.interpolate({args[0]}, {size}, {MODES[step.mode]})"

    def compute(self, step, inputs, run):
        x = inputs[0]
        inside = x.value.shape[2:]
        down, across = (_rows(a, b, step.mode) for a, b in zip(inside, self._size(step, inside)))
        down, across = down.astype(x.value.dtype), across.astype(x.value.dtype)
        return tape.Node(down @ x.value @ across.T, (x,), lambda g: (down.T @ g @ across,))
