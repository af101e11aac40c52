"""Cells that rearrange channels, as MindCV's networks write it."""

from mindspore import nn, ops
from small_cells import GlobalMean, conv


class Shuffle(nn.Cell):
    """Channel shuffle."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def construct(self, x):
        n, c, h, w = x.shape
        x = ops.reshape(x, (n, c // self.groups, self.groups, h, w))
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3, 4)), (n, c, h, w))


class Halves(nn.Cell):
    """Even and odd channels, one half through a convolution: what ShuffleNetV2 does."""

    def __init__(self, channels):
        super().__init__()
        self.conv = conv(channels // 2, channels // 2, 3)

    def construct(self, x):
        n, c, h, w = x.shape
        x = ops.transpose(ops.reshape(x, (n * c // 2, 2, h * w)), (1, 0, 2))
        x = ops.reshape(x, (2, -1, c // 2, h, w))
        return ops.concat((x[0], self.conv(x[1])), axis=1)


class Split(nn.Cell):
    """Parts of a tensor, some added to others, all joined: what Res2Net does."""

    def __init__(self, channels, parts):
        super().__init__()
        self.width = channels // parts
        self.convs = nn.CellList([conv(self.width, self.width, 3) for _ in range(parts - 1)])
        self.norm, self.relu = nn.BatchNorm2d(channels), nn.ReLU()

    def construct(self, x):
        parts = ops.split(self.relu(self.norm(x)), self.width, axis=1)
        out = now = parts[0]
        for k, layer in enumerate(self.convs):
            now = layer(now + parts[k + 1])
            out = ops.concat((out, now), axis=1)
        return out


class FewerChannels(nn.Cell):
    def construct(self, x):
        return x[:, 3:14] + x[:, 9:20, :, :]


class FlatGate(nn.Cell):
    """Squeeze and excitation with dense layers."""

    def __init__(self, channels):
        super().__init__()
        self.mean, self.squeeze, self.excite = GlobalMean(), nn.Dense(channels, 7), nn.Dense(7, channels)
        self.relu, self.sigmoid = nn.ReLU(), nn.Sigmoid()

    def construct(self, x):
        gate = self.sigmoid(self.excite(self.relu(self.squeeze(self.mean(x)))))
        return x * ops.expand_dims(ops.expand_dims(gate, -1), -1)


class FlatHead(nn.Cell):
    def __init__(self, channels, classes):
        super().__init__()
        self.mean, self.conv, self.flatten = GlobalMean(keep_dims=True), conv(channels, 20, 1), nn.Flatten()
        self.fc = nn.Dense(20, classes)

    def construct(self, x):
        return self.fc(self.flatten(self.conv(self.mean(x))))
