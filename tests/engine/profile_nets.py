"""Cells for the profile's tests."""

from mindspore import nn


class Doubled(nn.Cell):
    """Two equal convolutions, whose gradients MindSpore names alike."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1, has_bias=False)
        self.first = nn.Conv2d(4, 4, 3, pad_mode="same", has_bias=False)
        self.second = nn.Conv2d(4, 4, 3, pad_mode="same", has_bias=False)
        self.head = nn.Dense(4, 10)

    def construct(self, x):
        return self.head(self.second(self.first(self.stem(x))).mean((2, 3)))
