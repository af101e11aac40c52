"""Tiny-DarkNet: sixteen small convolutions and a mean (Redmon, pjreddie.com/darknet/tiny-darknet)."""

from collections import OrderedDict

from mindspore import nn

from cellwright.nets import layer
from cellwright.nets.fine_tuning import between_pools
from cellwright.nets.image_size import at_least

# (out channels, kernel), "M" for a 2x2 max pool; the last convolution, to the classes, follows.
_PLAN = (
    (16, 3), "M", (32, 3), "M",
    (16, 1), (128, 3), (16, 1), (128, 3), "M",
    (32, 1), (256, 3), (32, 1), (256, 3), "M",
    (64, 1), (512, 3), (64, 1), (512, 3), (128, 1),
)  # fmt: skip

# The zoo took the framework's slope; Darknet's own is 0.1.
_SLOPE = 0.2


class ConvBlock(nn.Cell):
    """Convolution that keeps the size, BN (eps 1e-3), LeakyReLU."""

    def __init__(self, in_channels, out_channels, kernel_size):
        super().__init__()
        self.conv = layer.conv2d(
            in_channels,
            out_channels,
            kernel_size,
            padding=kernel_size // 2,
            weight_init=layer.truncated_normal(0.02),
        )
        self.bn = layer.batch_norm(out_channels, eps=1e-3)
        self.act = layer.leaky_relu(_SLOPE)

    def construct(self, x):
        return self.act(self.bn(self.conv(x)))


class TinyDarkNet(nn.SequentialCell):
    """Tiny-DarkNet: images (N, 3, H, W) -> logits (N, num_classes), for any size.

    The last convolution has BN and LeakyReLU too, as in the zoo's networks; Darknet's is linear, with a bias.
    """

    network_name = "tinydarknet"
    head_prefix = "conv16."

    def __init__(self, num_classes=1000, image_size=224):
        at_least(1, image_size, "tinydarknet")
        cells = OrderedDict()
        channels, conv, pool = 3, 0, 0
        for step in (*_PLAN, (num_classes, 1)):
            if step == "M":
                pool += 1
                cells[f"pool{pool}"] = layer.max_pool(2, 2, pad_mode="same")
                continue
            conv += 1
            cells[f"conv{conv}"] = ConvBlock(channels, *step)
            channels = step[0]
        cells["mean"] = layer.GlobalMean()
        super().__init__(cells)
        *body, last = between_pools("", self)
        self.stage_prefixes = (*body, last[:-1], last[-1:])
