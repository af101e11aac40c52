"""The network of a speedrun: a few residual stages, made of the layers of this project's networks."""

from mindspore import nn, ops

from cellwright.nets import layer


class ConvNorm(nn.Cell):
    """Convolution, BatchNorm, ReLU."""

    def __init__(self, before, after, kernel_size, stride=1, padding=0):
        super().__init__()
        init = layer.he_normal_fan_out()
        self.conv = layer.conv2d(before, after, kernel_size, stride=stride, padding=padding, weight_init=init)
        self.norm = layer.batch_norm(after)
        self.relu = layer.relu()

    def construct(self, x):
        return self.relu(self.norm(self.conv(x)))


class Stage(nn.Cell):
    """A convolution that halves the sides, and two more around which its result is carried."""

    def __init__(self, before, after):
        super().__init__()
        self.down = ConvNorm(before, after, 3, stride=2, padding=1)
        self.first = ConvNorm(after, after, 3, padding=1)
        self.second = ConvNorm(after, after, 3, padding=1)

    def construct(self, x):
        x = self.down(x)
        return x + self.second(self.first(x))


class SpeedrunNet(nn.Cell):
    """Images (N, 3, 32, 32) -> logits (N, 10). The first convolution is 5x5 without padding: the 28 pixels within."""

    def __init__(self, widths):
        super().__init__()
        self.stem = ConvNorm(3, widths[0], 5)
        self.stages = nn.SequentialCell([Stage(before, after) for before, after in zip(widths, widths[1:])])
        self.mean = layer.GlobalMean()
        self.head = layer.dense(widths[-1], 10, weight_init=layer.uniform_fan_in(widths[-1]))

    def construct(self, x):
        return self.head(self.mean(self.stages(self.stem(x))))


class Mirrored(nn.Cell):
    """The sum of a network's logits for the images and for their mirror images, for evaluation."""

    def __init__(self, network):
        super().__init__(auto_prefix=False)
        self.network = network
        self.mirror = ops.ReverseV2(axis=[3])

    def construct(self, x):
        return self.network(x) + self.network(self.mirror(x))
