"""The layers of the four networks once more, in plain numpy and float64, on ../numpy_tape.py."""

import numpy as np
import numpy_tape as tape

# How near every ReLU and max pool of the last run came to its kink, in units of the map's root mean square.
# At a kink the smallest rounding turns a gradient on or off, so a comparison of gradients means something
# only where all of these are large enough.
margins = []


def _margin(distances, x):
    margins.append(distances.min() / np.sqrt(np.mean(x.value**2)))


def _pads(x, kernel, stride, pads):
    """(before, after) of both axes. None: TensorFlow's `same`, the odd one at the end."""
    totals = (max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.value.shape[2:])
    return pads or [(total // 2, total - total // 2) for total in totals]


def conv(x, w, bias=None, stride=1, pads=None):
    """x (N,C,H,W), w (O,C,k,k)."""
    return tape.conv(x, w, bias, (stride, stride), _pads(x, w.value.shape[2], stride, pads), (1, 1), 1)


def leaky_relu(x, slope=0.0):
    _margin(np.abs(x.value), x)
    factor = np.where(x.value > 0, 1.0, slope)
    return tape.elementwise(x, x.value * factor, factor)


def max_pool(x, kernel, stride, pads=((0, 0), (0, 0))):
    # Behind a ReLU all of a window may be 0: then no gradient passes, whoever wins.
    node, leads = tape.max_pool(x, (kernel, kernel), (stride, stride), _pads(x, kernel, stride, pads))
    _margin(leads, x)
    return node


def avg_pool(x, kernel):
    return tape.avg_pool(x, (kernel, kernel), (kernel, kernel), ((0, 0), (0, 0)), np.array(kernel**2))


def mean_hw(x):
    return tape.mean(x, True)


def depthwise_global(x, w):
    """A depthwise convolution, w (C,1,e,e), that fits the map once."""
    y = np.einsum("nchw,chw->nc", x.value, w.value[:, 0])[:, :, None, None]

    def pull(g):
        return g * w.value[:, 0], np.einsum("nc,nchw->chw", g[:, :, 0, 0], x.value)[:, None]

    return tape.Node(y, (x, w), pull)


def sigmoid(x):
    y = 1 / (1 + np.exp(-x.value))
    return tape.elementwise(x, y, y * (1 - y))


def gated_sum(x, gate, shortcut):
    """x times gate (N,C,1,1) plus shortcut."""
    return tape.add(tape.multiply(x, gate), shortcut)


def flatten(x):
    return tape.reshape(x, (len(x.value), -1))
