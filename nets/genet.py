"""GENet on ResNet-50: each block gathers its map into one number a channel and gates the channel with it.

Hu et al., 2018, "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks", arXiv:1810.12348.
"""

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import initializer

from nets import layer
from nets.size import at_least, halved

_STAGES = (3, 4, 6, 3)
_EXPANSION = 4
_REDUCTION = 16


def _conv(in_channels, out_channels, kernel_size, stride=1):
    return layer.conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        pad_mode="same",
        weight_init=layer.he_uniform_fan_in(),
    )


class ConvNorm(nn.Cell):
    """Convolution and BN."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, *, momentum, gamma_init="ones"):
        super().__init__()
        self.conv = _conv(in_channels, out_channels, kernel_size, stride)
        self.batchnorm = layer.batch_norm(out_channels, momentum=momentum, gamma_init=gamma_init)

    def construct(self, x):
        return self.batchnorm(self.conv(x))


class GlobalGather(nn.Cell):
    """Depthwise convolution whose kernel covers the whole map: (N, C, e, e) -> (N, C, 1, 1), weight (C, 1, e, e).

    One output pixel for each channel is the dot product of map and kernel, so it is computed as a product and a sum. As a
    convolution, in the published runs, it made a training step of the theta networks cost 3.5 times one of theta minus.
    """

    def __init__(self, channels, extent):
        super().__init__()
        self.extent = extent
        self.weight = Parameter(initializer(layer.he_uniform_fan_in(), (channels, 1, extent, extent)), name="weight")
        self.sum = ops.ReduceSum(keep_dims=True)

    def construct(self, x):
        if x.shape[2] != self.extent or x.shape[3] != self.extent:
            raise ValueError(
                f"this gather was built for a map of {self.extent} x {self.extent} and got {x.shape}: "
                f"give the network's images the size that it was created with"
            )
        return self.sum(x * self.weight.reshape((1, -1, self.extent, self.extent)), (2, 3))


def _gather(channels, extent, halve_first, momentum):
    cells = []
    if halve_first:
        # A dense convolution, not a depthwise one: the published checkpoints have it.
        cells += [_conv(channels, channels, 3, stride=2), layer.batch_norm(channels, momentum=momentum)]
        extent = halved(extent)
    return nn.SequentialCell([*cells, GlobalGather(channels, extent), layer.batch_norm(channels, momentum=momentum)])


def _mlp(channels):
    squeezed = channels // _REDUCTION
    return nn.SequentialCell([_conv(channels, squeezed, 1), layer.relu(), _conv(squeezed, channels, 1)])


class Bottleneck(nn.Cell):
    """1x1, 3x3 with the stride, 1x1, then the gate on the residual branch, then the addition."""

    def __init__(self, in_channels, channels, stride, extent, extra, mlp, halve_first, bn_momentum, last_gamma):
        super().__init__()
        momentum = bn_momentum or 0.997
        out_channels = _EXPANSION * channels
        self.conv1 = ConvNorm(in_channels, channels, 1, momentum=momentum)
        self.conv2 = ConvNorm(channels, channels, 3, stride, momentum=momentum)
        self.conv3 = ConvNorm(channels, out_channels, 1, momentum=momentum, gamma_init=last_gamma)
        self.relu = layer.relu()
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.down_layer = ConvNorm(in_channels, out_channels, 1, stride, momentum=momentum)
        self.extra = extra
        if extra:
            self.downop = _gather(out_channels, extent, halve_first, bn_momentum or 0.9)
        else:
            self.mean = layer.GlobalMean(keep_dims=True)
        self.mlp = mlp
        if mlp:
            self.mlpLayer = _mlp(out_channels)
        self.sigmoid = nn.Sigmoid()

    def construct(self, x):
        out = self.conv3(self.relu(self.conv2(self.relu(self.conv1(x)))))
        gate = self.downop(out) if self.extra else self.mean(out)
        if self.mlp:
            gate = self.mlpLayer(gate)
        shortcut = self.down_layer(x) if self.project else x
        return self.relu(out * self.sigmoid(gate) + shortcut)


class GENet(nn.Cell):
    """GENet on ResNet-50: images (N, 3, H, W) -> logits (N, num_classes).

    `extra` gathers with weights, else with the mean; `mlp` puts two 1x1 convolutions between gather and gate. Neither is the
    paper's theta minus, `extra` alone theta, both theta plus.
    `gather="downsampled"` is the zoo's form, which its checkpoints need: stage 1 halves its map with a dense 3x3 convolution before
    it gathers. `"single"` is the paper's: one gather over the whole map in every stage.
    `bn_momentum` is one momentum for every BN, in place of the zoo's 0.95 (stem), 0.997 (blocks) and 0.9 (gathers): with 0.997 a run of
    a few hundred steps is evaluated with statistics that are still largely the initial ones.
    `zero_init_last` starts each block as the identity: the gamma of its last BN is 0 (Goyal et al., 2017, arXiv:1706.02677).
    The extents of the gathers follow from `image_size`: 56, 28, 14, 7 at 224, and 8, 4, 2, 1 at 32. `stages` is the number of blocks
    of each stage. A theta network cannot train on a batch of one image: its gathers leave one number a channel, which has no variance.
    """

    network_name = "genet"
    head_prefix = "end_point."

    def __init__(
        self, num_classes=1000, image_size=224, *, extra=True, mlp=True, gather="downsampled", bn_momentum=None, zero_init_last=False, stages=_STAGES
    ):
        if gather not in ("downsampled", "single"):
            raise ValueError(f"gather={gather!r} is not one of 'downsampled', 'single' (setting of genet)")
        extent = halved(halved(at_least(1, image_size, "genet")))
        super().__init__()
        self.conv1 = _conv(3, 64, 7, stride=2)
        self.bn1 = layer.batch_norm(64, eps=1e-4, momentum=bn_momentum or 0.95)
        self.relu = layer.relu()
        self.maxpool = layer.max_pool(3, 2, pad_mode="same")
        blocks, in_channels = [], 64
        for i, depth in enumerate(stages):
            channels = 64 << i
            extent = halved(extent) if i else extent
            stage = []
            for j in range(depth):
                stride = 2 if i and j == 0 else 1
                halve_first = i == 0 and gather == "downsampled"
                gamma = "zeros" if zero_init_last else "ones"
                stage.append(Bottleneck(in_channels, channels, stride, extent, extra, mlp, halve_first, bn_momentum, gamma))
                in_channels = _EXPANSION * channels
            blocks.append(nn.SequentialCell(stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = blocks
        self.mean = layer.GlobalMean()
        self.end_point = layer.dense(in_channels, num_classes, weight_init=layer.truncated_normal(0.01))

    def construct(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.end_point(self.mean(x))
