"""Small networks, each with a kind of layer that small_cells.py does not have."""

from mindspore import nn
from norm_cells import ChannelNorm, LastAxis, Scaled
from product_cells import Branches, Numbers, Product, Swish
from rearranging_cells import FewerChannels, FlatGate, FlatHead, Halves, Shuffle, Split
from resized_cells import Casts, Like
from small_cells import conv


def depthwise(channels, kernel, **settings):
    return conv(channels, channels, kernel, group=channels, **settings)


def zeros(top, bottom, left, right):
    return nn.Pad(((0, 0), (0, 0), (top, bottom), (left, right)))


def between(*cells, inside=24):
    """The cells between a convolution to `inside` channels and one of as many."""
    return nn.SequentialCell([conv(3, inside, 3), *cells, conv(inside, 8, 1)])


def dilated(channels, kernel, dilation, **settings):
    return depthwise(channels, kernel, dilation=dilation, **settings)


LAYERS = {
    "prelu": lambda: between(nn.PReLU(24), nn.BatchNorm2d(24), nn.PReLU()),
    "prelu of 40 channels": lambda: between(nn.BatchNorm2d(40), nn.PReLU(40), nn.PReLU(), inside=40),
    "depthwise 3x3, dilated": lambda: between(dilated(24, 3, 2), nn.BatchNorm2d(24), nn.ReLU()),
    "depthwise 5x3, dilated, with bias": lambda: between(dilated(40, (5, 3), (1, 3), has_bias=True), inside=40),
    "depthwise 3x3, dilated, stride 2": lambda: between(
        dilated(24, 3, 2, stride=2, pad_mode="pad", padding=(3, 2, 1, 0)), nn.ReLU()
    ),
    "dilated, stride 2": lambda: between(conv(16, 24, 3, stride=2, dilation=2), nn.ReLU(), conv(24, 16, 1), inside=16),
    "dilated, stride 2, of images": lambda: nn.SequentialCell(
        [conv(3, 24, (1, 3), stride=2, dilation=(1, 2)), nn.ReLU(), conv(24, 8, 1)]
    ),
    "dilated, stride 2, padded": lambda: between(
        conv(24, 24, 3, stride=2, dilation=2, pad_mode="pad", padding=(3, 0, 1, 2)), nn.BatchNorm2d(24)
    ),
    "depthwise of 3 channels": lambda: between(dilated(3, 3, 2), nn.ReLU(), inside=3),
    "nearest": lambda: between(nn.Upsample((24, 30)), nn.BatchNorm2d(24), nn.Upsample((7, 5), mode="nearest-exact")),
    "bilinear": lambda: between(nn.Upsample((25, 7), mode="bilinear"), nn.ReLU()),
    "bilinear, corners": lambda: between(nn.Upsample((7, 23), mode="bilinear", align_corners=True), nn.ReLU()),
    "a size by a factor": lambda: between(
        nn.Upsample(scale_factor=1.7, recompute_scale_factor=True),
        nn.Upsample(scale_factor=(0.5, 2.0), recompute_scale_factor=True),
    ),
    "branches by their gates": lambda: between(Branches(24)),
    "the size of another": lambda: between(Like(24)),
    "through float16": lambda: nn.SequentialCell([Casts(), conv(3, 8, 3)]),
    "depthwise 3x3": lambda: between(depthwise(24, 3), nn.BatchNorm2d(24), nn.ReLU()),
    "depthwise 5x5, stride 2": lambda: between(depthwise(24, 5, stride=2), nn.BatchNorm2d(24), nn.ReLU()),
    "depthwise 7x7 with bias": lambda: between(depthwise(40, 7, has_bias=True), inside=40),
    "depthwise 5x3, padded": lambda: between(depthwise(24, (5, 3), pad_mode="pad", padding=(4, 0, 1, 2))),
    "depthwise 9x9 of few pixels": lambda: between(nn.MaxPool2d(4, 4), depthwise(24, 9)),
    "groups of 4 channels": lambda: between(conv(32, 32, 3, group=8, has_bias=True), nn.ReLU(), inside=32),
    "groups of 6 channels to 2": lambda: between(conv(24, 8, 3, group=4), nn.ReLU(), conv(8, 24, 1)),
    "a group to a channel, two filters each": lambda: between(conv(24, 48, 3, stride=2, group=12), conv(48, 24, 1)),
    "channel shuffle": lambda: between(Shuffle(3), nn.BatchNorm2d(24), nn.ReLU()),
    "channel shuffle of 40": lambda: between(nn.BatchNorm2d(40), Shuffle(8), inside=40),
    "halves": lambda: between(nn.BatchNorm2d(24), nn.ReLU(), Halves(24), Halves(24)),
    "halves of whole blocks": lambda: between(Halves(64), nn.ReLU(), inside=64),
    "split into 4 of 12": lambda: between(Split(48, 4), nn.BatchNorm2d(48), inside=48),
    "split into 2 of 16": lambda: between(Split(32, 2), inside=32),
    "slices": lambda: nn.SequentialCell([conv(3, 20, 3), FewerChannels(), conv(11, 8, 1)]),
    "gate of dense layers": lambda: between(nn.BatchNorm2d(24), FlatGate(24)),
    "flattened": lambda: nn.SequentialCell([conv(3, 24, 3), FlatHead(24, 5)]),
    "product": lambda: between(nn.BatchNorm2d(24), Product()),
    "swish": lambda: between(nn.BatchNorm2d(24), Swish(), nn.ReLU()),
    "numbers": lambda: between(Numbers(), nn.BatchNorm2d(24)),
    "gelu": lambda: between(nn.GELU(), nn.BatchNorm2d(24), nn.GELU(approximate=False)),
    "max pool, padded": lambda: between(nn.MaxPool2d(3, 2, "pad", 1), nn.BatchNorm2d(24), nn.MaxPool2d(2, 3, "pad", 1)),
    "average pool, same": lambda: between(nn.AvgPool2d(3, 2, "same"), nn.ReLU(), nn.AvgPool2d(2, 1, "same")),
    "average pool, padded": lambda: between(
        nn.AvgPool2d(3, 2, "pad", 1), nn.ReLU(), nn.AvgPool2d(3, 1, "pad", (1, 0), count_include_pad=False)
    ),
    "adaptive pools": lambda: between(nn.AdaptiveAvgPool2d((4, None)), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    "zeros before a pool": lambda: between(zeros(1, 1, 1, 1), nn.MaxPool2d(3, 2)),
    "norm of pixels": lambda: between(ChannelNorm((24,)), nn.ReLU()),
    "norm of groups": lambda: between(nn.GroupNorm(3, 24), nn.ReLU(), nn.GroupNorm(12, 24)),
    "norm of images": lambda: between(nn.GroupNorm(1, 40, eps=1e-3), inside=40),
    "channels last": lambda: between(LastAxis(24), LastAxis(24)),
    "layer scale": lambda: between(Scaled(40), nn.ReLU(), Scaled(40), inside=40),
    "zeros before others": lambda: nn.SequentialCell(
        [conv(3, 24, 3), zeros(1, 1, 0, 1), nn.AvgPool2d(3, 2), zeros(0, 2, 1, 1), conv(24, 8, 3, pad_mode="valid")]
    ),
    "windows larger than the image": lambda: between(
        nn.MaxPool2d(6, 6), conv(24, 24, 3, has_bias=True), nn.ReLU(), conv(24, 24, 3, stride=2), conv(24, 24, 3)
    ),
    "5x5 windows of 3x3 pixels": lambda: between(nn.MaxPool2d(4, 4), conv(24, 40, 5), nn.ReLU(), conv(40, 24, 1)),
    "a window that leaves a row": lambda: between(
        nn.MaxPool2d(3, 3), conv(24, 24, 5, stride=3, pad_mode="pad", padding=(2, 1, 2, 1))
    ),
    "few channels": lambda: between(conv(24, 5, 3, has_bias=True), nn.ReLU(), conv(5, 6, 3, stride=2), conv(6, 24, 1)),
}
