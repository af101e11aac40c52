"""Small networks, each with a kind of layer that small_cells.py does not have."""

from mindspore import nn
from small_cells import conv


def depthwise(channels, kernel, **settings):
    return conv(channels, channels, kernel, group=channels, **settings)


def between(*cells, inside=24):
    """The cells between a convolution to `inside` channels and one of as many."""
    return nn.SequentialCell([conv(3, inside, 3), *cells, conv(inside, 8, 1)])


LAYERS = {
    "depthwise 3x3": lambda: between(depthwise(24, 3), nn.BatchNorm2d(24), nn.ReLU()),
    "depthwise 5x5, stride 2": lambda: between(depthwise(24, 5, stride=2), nn.BatchNorm2d(24), nn.ReLU()),
    "depthwise 7x7 with bias": lambda: between(depthwise(40, 7, has_bias=True), inside=40),
    "depthwise 5x3, padded": lambda: between(depthwise(24, (5, 3), pad_mode="pad", padding=(4, 0, 1, 2))),
    "depthwise 9x9 of few pixels": lambda: between(nn.MaxPool2d(4, 4), depthwise(24, 9)),
}
