"""VGG-16: thirteen 3x3 convolutions, three dense layers (Simonyan and Zisserman, 2015, arXiv:1409.1556)."""

from mindspore import nn

from cellwright.nets import layer
from cellwright.nets.fine_tuning import between_pools
from cellwright.nets.image_size import at_least

_PLAN = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")
_HIDDEN = 4096

_WEIGHT_INITS = {"XavierUniform": layer.xavier_uniform, "KaimingNormal": layer.he_normal_fan_out}


class VGG(nn.Cell):
    """VGG-16: images (N, 3, H, W) -> logits (N, num_classes).

    Two published forms. ImageNet: convolution with bias, no BN, dropout, `KaimingNormal`; this is what the
    settings give when left alone. CIFAR-10: `batch_norm=True`, which without further settings means no bias,
    no dropout, `XavierUniform`, `pad_mode="same"`. At stride 1 the two pad modes compute the same thing. The
    first dense layer takes (image_size // 32)^2 x 512 inputs, so 32 pixels are the least. `hidden` is the
    width of the two hidden dense layers.
    """

    network_name = "vgg16"
    head_prefix = "classifier.6."

    def __init__(
        self,
        num_classes=1000,
        image_size=224,
        *,
        batch_norm=False,
        has_bias=None,
        has_dropout=None,
        pad_mode=None,
        initialize_mode=None,
        hidden=_HIDDEN,
    ):
        has_bias = not batch_norm if has_bias is None else has_bias
        has_dropout = not batch_norm if has_dropout is None else has_dropout
        pad_mode = ("same" if batch_norm else "pad") if pad_mode is None else pad_mode
        if initialize_mode is None:
            initialize_mode = "XavierUniform" if batch_norm else "KaimingNormal"
        if pad_mode not in ("same", "pad"):
            raise ValueError(f"pad_mode={pad_mode!r} is not one of 'same', 'pad' (setting of vgg16)")
        if initialize_mode not in _WEIGHT_INITS:
            raise ValueError(
                f"initialize_mode={initialize_mode!r} is not one of "
                f"{', '.join(map(repr, _WEIGHT_INITS))} (setting of vgg16)"
            )
        extent = at_least(32, image_size, "vgg16") // 32
        super().__init__()
        cells, channels = [], 3
        for step in _PLAN:
            if step == "M":
                cells.append(layer.max_pool(2, 2))
                continue
            cells.append(
                layer.conv2d(
                    channels,
                    step,
                    3,
                    pad_mode=pad_mode,
                    padding=1 if pad_mode == "pad" else 0,
                    has_bias=has_bias,
                    weight_init=_WEIGHT_INITS[initialize_mode](),
                )
            )
            if batch_norm:
                cells.append(layer.batch_norm(step))
            cells.append(layer.relu())
            channels = step
        self.layers = nn.SequentialCell(cells)
        self.flatten = nn.Flatten()
        drop = 0.5 if has_dropout else 0.0
        self.classifier = _classifier(channels * extent * extent, hidden, num_classes, drop)

    @property
    def stage_prefixes(self):
        """The beginnings of the parameters' names, a tuple for each stage."""
        return *between_pools("layers.", self.layers), *((f"classifier.{place}.",) for place in (0, 3, 6))

    def construct(self, x):
        return self.classifier(self.flatten(self.layers(x)))


def _classifier(inputs, hidden, classes, drop):
    cells = []
    for units in (hidden, hidden):
        cells += [layer.dense(inputs, units, weight_init=layer.normal(0.01)), layer.relu(), layer.dropout(drop)]
        inputs = units
    return nn.SequentialCell([*cells, layer.dense(inputs, classes, weight_init=layer.normal(0.01))])
