"""DenseNet-121: every layer of a block sees the maps of all before it (Huang et al., 2017, arXiv:1608.06993)."""

from collections import OrderedDict

from mindspore import nn, ops

from cellwright.nets import layer
from cellwright.nets.image_size import at_least

_GROWTH = 32
_BOTTLENECK = 4 * _GROWTH
_INIT_FEATURES = 64
_BLOCKS = (6, 12, 24, 16)


def _conv(in_channels, out_channels, kernel_size, stride=1):
    return layer.conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        weight_init=layer.he_normal_fan_out(),
    )


class DenseLayer(nn.Cell):
    """BN, ReLU, 1x1 to 128 channels, BN, ReLU, 3x3 to 32: a tuple of feature maps in, the new ones out.

    The maps are joined inside, so that a recomputed layer keeps nothing but its output: kept outside, the
    joined inputs grow with the square of the depth (Pleiss et al., 2017, arXiv:1707.06990).
    """

    def __init__(self, in_channels, recompute):
        super().__init__()
        # A recomputed BN moves its statistics twice a step, by the same batch: twice the root is once the
        # whole.
        momentum = 0.9**0.5 if recompute else 0.9
        self.norm1 = layer.batch_norm(in_channels, momentum=momentum)
        self.relu1 = layer.relu()
        self.conv1 = _conv(in_channels, _BOTTLENECK, 1)
        self.norm2 = layer.batch_norm(_BOTTLENECK, momentum=momentum)
        self.relu2 = layer.relu()
        self.conv2 = _conv(_BOTTLENECK, _GROWTH, 3)
        if recompute:
            self.recompute()

    def construct(self, features):
        x = features[0] if len(features) == 1 else ops.concat(features, 1)
        x = self.conv1(self.relu1(self.norm1(x)))
        return self.conv2(self.relu2(self.norm2(x)))


class DenseBlock(nn.Cell):
    """Layers in a row, each fed with all earlier outputs; (N, C, H, W) -> (N, C + 32 L, H, W)."""

    def __init__(self, in_channels, layers, recompute):
        super().__init__()
        self.join_inside = recompute
        self.cell_list = nn.CellList([DenseLayer(in_channels + i * _GROWTH, recompute) for i in range(layers)])

    def construct(self, x):
        if self.join_inside:
            features = (x,)
            for dense_layer in self.cell_list:
                features = features + (dense_layer(features),)
            return ops.concat(features, 1)
        for dense_layer in self.cell_list:
            x = ops.concat((x, dense_layer((x,))), 1)
        return x


class Transition(nn.Cell):
    """BN, ReLU, 1x1 to half of the channels, pool 2x2: the zoo takes the maximum, the paper the average."""

    def __init__(self, in_channels, transition):
        super().__init__()
        pool = layer.max_pool(2, 2) if transition == "max" else layer.avg_pool(2, 2)
        self.features = nn.SequentialCell(
            OrderedDict(
                norm=layer.batch_norm(in_channels),
                relu=layer.relu(),
                conv=_conv(in_channels, in_channels // 2, 1),
                pool=pool,
            )
        )

    def construct(self, x):
        return self.features(x)


class _Backbone(nn.Cell):
    def __init__(self, blocks, transition, recompute):
        super().__init__()
        cells = OrderedDict(
            conv0=_conv(3, _INIT_FEATURES, 7, stride=2),
            norm0=layer.batch_norm(_INIT_FEATURES),
            relu0=layer.relu(),
            pool0=layer.max_pool(3, 2, pad_mode="same") if transition == "max" else layer.PaddedMaxPool(),
        )
        channels = _INIT_FEATURES
        for i, layers in enumerate(blocks, start=1):
            cells[f"denseblock{i}"] = DenseBlock(channels, layers, recompute)
            channels += layers * _GROWTH
            if i < len(blocks):
                cells[f"transition{i}"] = Transition(channels, transition)
                channels //= 2
        cells["norm5"] = layer.batch_norm(channels)
        cells["relu5"] = layer.relu()
        self.out_channels = channels
        self.features = nn.SequentialCell(cells)

    def construct(self, x):
        return self.features(x)


class _Head(nn.Cell):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.mean = layer.GlobalMean()
        self.fc = layer.dense(in_channels, num_classes, weight_init=layer.uniform_fan_in(in_channels))

    def construct(self, x):
        return self.fc(self.mean(x))


class DenseNet(nn.Cell):
    """DenseNet-121: images (N, 3, H, W) -> logits (N, num_classes).

    `transition="max"` is the zoo's form, which its checkpoints need; `"avg"` is the paper's: average pools
    between the blocks and the first pool padded on all sides, as torchvision and timm have it, so that their
    weights give their results. `recompute=True` computes the inside of each dense layer again in the backward
    pass instead of keeping it. `blocks` is the number of layers of each block. Every size from 29 pixels
    works: the last block needs one pixel.
    """

    network_name = "densenet121"
    head_prefix = "head.fc."
    stage_prefixes = (
        ("backbone.features.conv0.", "backbone.features.norm0."),
        *((f"backbone.features.denseblock{k}.", f"backbone.features.transition{k}.") for k in (1, 2, 3)),
        ("backbone.features.denseblock4.", "backbone.features.norm5."),
        (head_prefix,),
    )

    def __init__(self, num_classes=1000, image_size=224, *, transition="max", recompute=False, blocks=_BLOCKS):
        if transition not in ("max", "avg"):
            raise ValueError(f"transition={transition!r} is not one of 'max', 'avg' (setting of densenet121)")
        at_least(29, image_size, "densenet121")
        super().__init__()
        self.backbone = _Backbone(tuple(blocks), transition, recompute)
        self.head = _Head(self.backbone.out_channels, num_classes)

    def construct(self, x):
        return self.head(self.backbone(x))
