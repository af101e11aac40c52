"""Networks under MindCV's names, with its kinds of cells, names and lists, of fewer layers."""

from types import SimpleNamespace

from mindspore import nn, ops


class Dropout(nn.Dropout):
    def __init__(self, p=0.5):
        super().__init__(p=p)


def conv_and_norm(inputs, outputs, kernel, stride=1, group=1):
    padding = {"pad_mode": "pad", "padding": kernel // 2}
    return nn.Conv2d(inputs, outputs, kernel, stride, **padding, group=group), nn.BatchNorm2d(outputs)


class BasicBlock(nn.Cell):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1, self.bn1 = conv_and_norm(inputs, outputs, 3, stride)
        self.conv2, self.bn2 = conv_and_norm(outputs, outputs, 3)
        self.relu, self.down_sample = nn.ReLU(), None
        if stride != 1:
            self.down_sample = nn.SequentialCell(list(conv_and_norm(inputs, outputs, 1, stride)))

    def construct(self, x):
        same = x if self.down_sample is None else self.down_sample(x)
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + same)


class ResNet(nn.Cell):
    """Top-level stages, listed by resolution; a norm of the stem beside its convolution."""

    def __init__(self, num_classes, widths=(16, 32)):
        super().__init__()
        self.conv1, self.bn1 = conv_and_norm(3, 16, 7, 2)
        self.relu = nn.ReLU()
        self.max_pool = nn.MaxPool2d(3, 2, pad_mode="same")
        self.layer1 = nn.SequentialCell([BasicBlock(16, widths[0], 1)])
        self.layer2 = nn.SequentialCell([BasicBlock(widths[0], widths[1], 2)])
        names = ("relu", "layer1", "layer2")
        self.feature_info = [dict(chs=0, reduction=2**k, name=name) for k, name in enumerate(names, 1)]
        self.classifier = nn.Dense(widths[1], num_classes)

    def construct(self, x):
        x = self.max_pool(self.relu(self.bn1(self.conv1(x))))
        return self.classifier(self.layer2(self.layer1(x)).mean((2, 3)))


class MobileNet(nn.Cell):
    """One sequence, `features`, as torchvision names it; a head behind a dropout that is a subclass."""

    def __init__(self, num_classes):
        super().__init__()
        layers = [*conv_and_norm(3, 16, 3, 2), nn.ReLU6(), BasicBlock(16, 24, 2), BasicBlock(24, 24, 1)]
        layers += [*conv_and_norm(24, 64, 1), nn.ReLU6()]
        self.features = nn.SequentialCell(layers)
        steps = ((2, 2), (3, 4), (4, 4), (7, 4))
        self.feature_info = [dict(chs=0, reduction=size, name=f"features.{place}") for place, size in steps]
        self.classifier = nn.SequentialCell([Dropout(p=0.2), nn.Dense(64, num_classes)])

    def construct(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class Vgg(nn.Cell):
    """A sequence without a list of features, and a head of several layers."""

    def __init__(self, num_classes):
        super().__init__()
        pool = nn.MaxPool2d(2, 2)
        layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), pool, nn.Conv2d(8, 16, 3), nn.ReLU(), pool]
        self.features = nn.SequentialCell(layers)
        self.classifier = nn.SequentialCell([nn.Dense(16, 32), nn.ReLU(), Dropout(p=0.5), nn.Dense(32, num_classes)])

    def construct(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class SqueezeNet(nn.Cell):
    """A head that is a convolution."""

    def __init__(self, num_classes):
        super().__init__()
        self.features = nn.SequentialCell([nn.Conv2d(3, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 24, 1), nn.ReLU()])
        self.classifier = nn.SequentialCell([Dropout(p=0.5), nn.Conv2d(24, num_classes, 1, has_bias=True)])

    def construct(self, x):
        return self.classifier(self.features(x)).mean((2, 3))


class Inception(nn.Cell):
    def __init__(self, num_classes):
        super().__init__()
        self.aux_logits, self.classifier = True, nn.Dense(3, num_classes)

    def construct(self, x):
        out = self.classifier(x.mean((2, 3)))
        return (out, ops.relu(out)) if self.training else out


_NETWORKS = {
    "resnet18": ResNet,
    "mobilenet_v2_100": MobileNet,
    "vgg11": Vgg,
    "squeezenet1_0": SqueezeNet,
    "inception_v3": Inception,
}
_CONFIGURATIONS = {"vgg11": {"input_size": (3, 224, 224)}}
registry = SimpleNamespace(
    is_model=_NETWORKS.__contains__,
    list_models=lambda: sorted(_NETWORKS),
    get_pretrained_cfg=lambda name: _CONFIGURATIONS.get(name, {}),
)


def create_model(model_name, num_classes=1000, **kwargs):
    return _NETWORKS[model_name](num_classes=num_classes, **kwargs)
