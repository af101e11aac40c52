"""GENet on ResNet-50: each block gathers its map into one number a channel and gates the channel with it.

Hu et al., 2018, "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks", arXiv:1810.12348.
"""

from dataclasses import dataclass

from mindspore import Parameter, nn, ops
from mindspore.common.initializer import initializer

from cellwright.nets import layer
from cellwright.nets.image_size import at_least, halved

_STAGES = (3, 4, 6, 3)
_EXPANSION = 4
_REDUCTION = 16


@dataclass(frozen=True)
class Form:
    """What all blocks of one network have in common; see GENet."""

    extra: bool
    mlp: bool
    gather: str
    pad_mode: str
    bn_momentum: float | None
    zero_init_last: bool

    def conv(self, in_channels, out_channels, kernel_size, stride=1):
        return layer.conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            pad_mode=self.pad_mode,
            padding=kernel_size // 2 if self.pad_mode == "pad" else 0,
            weight_init=layer.he_uniform_fan_in(),
        )

    def norm(self, channels, momentum, eps=1e-5, gamma_init="ones"):
        return layer.batch_norm(channels, eps=eps, momentum=self.bn_momentum or momentum, gamma_init=gamma_init)


class ConvNorm(nn.Cell):
    """Convolution and BN (momentum 0.997)."""

    def __init__(self, form, in_channels, out_channels, kernel_size, stride=1, gamma_init="ones"):
        super().__init__()
        self.conv = form.conv(in_channels, out_channels, kernel_size, stride)
        self.batchnorm = form.norm(out_channels, 0.997, gamma_init=gamma_init)

    def construct(self, x):
        return self.batchnorm(self.conv(x))


class GlobalGather(nn.Cell):
    """Depthwise convolution whose kernel covers the whole map: (N, C, e, e) -> (N, C, 1, 1), weight (C, 1, e, e).

    One output pixel for each channel is the dot product of map and kernel, so it is computed as a product and a sum. As
    a convolution, in the published runs, it made a training step of the theta networks cost 3.5 times one of theta
    minus.
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


def _gather(form, channels, extent, halve_first):
    cells = []
    if halve_first:
        # A dense convolution, not a depthwise one: the published checkpoints have it.
        cells += [form.conv(channels, channels, 3, stride=2), form.norm(channels, 0.9)]
        extent = halved(extent)
    return nn.SequentialCell([*cells, GlobalGather(channels, extent), form.norm(channels, 0.9)])


def _mlp(form, channels):
    squeezed = channels // _REDUCTION
    return nn.SequentialCell([form.conv(channels, squeezed, 1), layer.relu(), form.conv(squeezed, channels, 1)])


class Bottleneck(nn.Cell):
    """1x1, 3x3 with the stride, 1x1, then the gate on the residual branch, then the addition."""

    def __init__(self, form, in_channels, channels, stride, extent, halve_first):
        super().__init__()
        out_channels = _EXPANSION * channels
        self.conv1 = ConvNorm(form, in_channels, channels, 1)
        self.conv2 = ConvNorm(form, channels, channels, 3, stride)
        self.conv3 = ConvNorm(form, channels, out_channels, 1, gamma_init="zeros" if form.zero_init_last else "ones")
        self.relu = layer.relu()
        self.project = stride != 1 or in_channels != out_channels
        if self.project:
            self.down_layer = ConvNorm(form, in_channels, out_channels, 1, stride)
        self.extra = form.extra
        if form.extra:
            self.downop = _gather(form, out_channels, extent, halve_first)
        else:
            self.mean = layer.GlobalMean(keep_dims=True)
        self.mlp = form.mlp
        if form.mlp:
            self.mlpLayer = _mlp(form, out_channels)
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

    `extra` gathers with weights, else with the mean; `mlp` puts two 1x1 convolutions between gather and gate. Neither
    is the paper's theta minus, `extra` alone theta, both theta plus. `gather="downsampled"` is the zoo's form, which
    its checkpoints need: stage 1 halves its map with a dense 3x3 convolution before it gathers. `"single"` is the
    paper's: one gather over the whole map in every stage. `pad_mode="same"` is the zoo's and pads at the bottom and
    right; `"pad"` pads on all sides, as the ResNet-50 whose weights PyTorch has, and learns faster on small images:
    from the same weights the loss of the embedded images stood at 1.30 and not 1.94 after 30 steps. `bn_momentum` is
    one momentum for every BN, in place of the zoo's 0.95 (stem), 0.997 (blocks) and 0.9 (gathers): with 0.997 a run of
    a few hundred steps is evaluated with statistics that are still largely the initial ones. `zero_init_last` starts
    each block as the identity: the gamma of its last BN is 0 (Goyal et al., 2017, arXiv:1706.02677). The extents of the
    gathers follow from `image_size`: 56, 28, 14, 7 at 224, and 8, 4, 2, 1 at 32. `stages` is the number of blocks of
    each stage. A theta network cannot train on a batch of one image: its gathers leave one number a channel, which has
    no variance.
    """

    network_name = "genet"
    head_prefix = "end_point."
    stage_prefixes = (("conv1.", "bn1."), ("layer1.",), ("layer2.",), ("layer3.",), ("layer4.",), (head_prefix,))

    def __init__(
        self,
        num_classes=1000,
        image_size=224,
        *,
        extra=True,
        mlp=True,
        gather="downsampled",
        pad_mode="same",
        bn_momentum=None,
        zero_init_last=False,
        stages=_STAGES,
    ):
        for name, value, allowed in (
            ("gather", gather, ("downsampled", "single")),
            ("pad_mode", pad_mode, ("same", "pad")),
        ):
            if value not in allowed:
                raise ValueError(f"{name}={value!r} is not one of {', '.join(map(repr, allowed))} (setting of genet)")
        extent = halved(halved(at_least(1, image_size, "genet")))
        super().__init__()
        form = Form(extra, mlp, gather, pad_mode, bn_momentum, zero_init_last)
        self.conv1 = form.conv(3, 64, 7, stride=2)
        self.bn1 = form.norm(64, 0.95, eps=1e-4)
        self.relu = layer.relu()
        self.maxpool = layer.PaddedMaxPool() if pad_mode == "pad" else layer.max_pool(3, 2, pad_mode="same")
        blocks, in_channels = [], 64
        for i, depth in enumerate(stages):
            channels = 64 << i
            extent = halved(extent) if i else extent
            stage = []
            for j in range(depth):
                stride = 2 if i and j == 0 else 1
                stage.append(
                    Bottleneck(form, in_channels, channels, stride, extent, i == 0 and gather == "downsampled")
                )
                in_channels = _EXPANSION * channels
            blocks.append(nn.SequentialCell(stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = blocks
        self.mean = layer.GlobalMean()
        self.end_point = layer.dense(in_channels, num_classes, weight_init=layer.truncated_normal(0.01))

    def construct(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.end_point(self.mean(x))
