"""The layers of the four networks once more, in plain numpy and float64, each with its gradient written by hand.

A `Node` holds a value, and a function that takes the gradient of the value to those of what it was made from.
"""

import numpy as np

# How near every ReLU and max pool of the last run came to its kink, in units of the map's root mean square.
# At a kink the smallest rounding turns a gradient on or off, so a comparison of gradients means something
# only where all of these are large enough.
margins = []


class Node:
    def __init__(self, value, parents=(), pull=None):
        self.value = np.asarray(value, dtype=np.float64)
        self.parents, self.pull = parents, pull
        self.grad = np.zeros_like(self.value)


def backward(node):
    """Fills `grad` of everything that the scalar `node` was made from."""
    order, seen = [], set()

    def visit(start):
        stack = [(start, iter(start.parents))]
        seen.add(id(start))
        while stack:
            current, parents = stack[-1]
            for parent in parents:
                if id(parent) not in seen:
                    seen.add(id(parent))
                    stack.append((parent, iter(parent.parents)))
                    break
            else:
                order.append(current)
                stack.pop()

    visit(node)
    node.grad = np.ones_like(node.value)
    for current in reversed(order):
        if current.pull:
            for parent, grad in zip(current.parents, current.pull(current.grad)):
                parent.grad = parent.grad + grad


def same_pads(size, kernel, stride):
    """(before, after): TensorFlow's padding, the odd one at the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _windows(padded, kernel, stride, out):
    """For every place (i, j) of the kernel the pixels that it meets, as views of the padded map."""
    for i in range(kernel):
        for j in range(kernel):
            yield (
                i,
                j,
                (
                    slice(None),
                    slice(None),
                    slice(i, i + stride * out[0], stride),
                    slice(j, j + stride * out[1], stride),
                ),
            )


def conv(x, w, bias=None, stride=1, pads=None):
    """x (N,C,H,W), w (O,C,k,k); pads: (before, after) of both axes, None: `same`."""
    kernel = w.value.shape[2]
    pads = pads or [same_pads(size, kernel, stride) for size in x.value.shape[2:]]
    padded = np.pad(x.value, [(0, 0), (0, 0), *pads])
    out = [(size - kernel) // stride + 1 for size in padded.shape[2:]]
    # (N, h, w, C, k, k) laid out as a matrix: one row for each pixel of the result.
    met = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    rows = met.transpose(0, 2, 3, 1, 4, 5).reshape(len(padded) * out[0] * out[1], -1)
    columns = w.value.reshape(len(w.value), -1)
    y = (rows @ columns.T).reshape(len(padded), *out, -1).transpose(0, 3, 1, 2)
    if bias is not None:
        y = y + bias.value[:, None, None]

    def pull(g):
        g_rows = g.transpose(0, 2, 3, 1).reshape(len(rows), -1)
        met_grad = (g_rows @ columns).reshape(len(padded), *out, -1, kernel, kernel).transpose(0, 3, 1, 2, 4, 5)
        gx = np.zeros_like(padded)
        for i, j, place in _windows(padded, kernel, stride, out):
            gx[place] += met_grad[..., i, j]
        gw = (g_rows.T @ rows).reshape(w.value.shape)
        (top, bottom), (left, right) = pads
        gx = gx[:, :, top : gx.shape[2] - bottom, left : gx.shape[3] - right]
        return (gx, gw) if bias is None else (gx, gw, g.sum((0, 2, 3)))

    return Node(y, (x, w) if bias is None else (x, w, bias), pull)


def batch_norm(x, gamma, beta, mean, variance, eps, momentum, training, moved):
    """mean, variance: moving ones, arrays; in training their new values are appended to `moved`."""
    n = x.value.size // x.value.shape[1]
    if training:
        batch_mean, batch_var = x.value.mean((0, 2, 3)), x.value.var((0, 2, 3))
        moved.append(momentum * mean + (1 - momentum) * batch_mean)
        moved.append(momentum * variance + (1 - momentum) * batch_var * n / (n - 1))
    else:
        batch_mean, batch_var = mean, variance
    scale = 1 / np.sqrt(batch_var + eps)[:, None, None]
    xhat = (x.value - batch_mean[:, None, None]) * scale

    def pull(g):
        ggamma, gbeta = (g * xhat).sum((0, 2, 3)), g.sum((0, 2, 3))
        gx = g
        if training:
            gx = g - gbeta[:, None, None] / n - xhat * ggamma[:, None, None] / n
        return gx * gamma.value[:, None, None] * scale, ggamma, gbeta

    return Node(xhat * gamma.value[:, None, None] + beta.value[:, None, None], (x, gamma, beta), pull)


def leaky_relu(x, slope=0.0):
    margins.append(np.abs(x.value).min() / np.sqrt(np.mean(x.value**2)))
    factor = np.where(x.value > 0, 1.0, slope)
    return Node(x.value * factor, (x,), lambda g: (g * factor,))


def max_pool(x, kernel, stride, pads=((0, 0), (0, 0))):
    pads = pads or [same_pads(size, kernel, stride) for size in x.value.shape[2:]]
    padded = np.pad(x.value, [(0, 0), (0, 0), *pads], constant_values=-np.inf)
    out = [(size - kernel) // stride + 1 for size in padded.shape[2:]]
    views = np.stack([padded[place] for _, _, place in _windows(padded, kernel, stride, out)])
    winner = views.argmax(0)
    second, first = np.partition(views, -2, axis=0)[-2:]
    # Behind a ReLU all of a window may be 0: then no gradient passes, whoever wins.
    margins.append((first - second)[first != 0].min() / np.sqrt(np.mean(x.value**2)))

    def pull(g):
        gx = np.zeros_like(padded)
        for k, (_, _, place) in enumerate(_windows(padded, kernel, stride, out)):
            gx[place] += g * (winner == k)
        (top, bottom), (left, right) = pads
        return (gx[:, :, top : gx.shape[2] - bottom, left : gx.shape[3] - right],)

    return Node(views.max(0), (x,), pull)


def avg_pool(x, kernel):
    out = [size // kernel for size in x.value.shape[2:]]
    y = sum(x.value[place] for _, _, place in _windows(x.value, kernel, kernel, out)) / kernel**2

    def pull(g):
        gx = np.zeros_like(x.value)
        for _, _, place in _windows(gx, kernel, kernel, out):
            gx[place] = g / kernel**2
        return (gx,)

    return Node(y, (x,), pull)


def dense(x, w, bias):
    return Node(x.value @ w.value.T + bias.value, (x, w, bias), lambda g: (g @ w.value, g.T @ x.value, g.sum(0)))


def mean_hw(x):
    n = x.value.shape[2] * x.value.shape[3]
    spread = np.ones_like(x.value)
    return Node(x.value.mean((2, 3), keepdims=True), (x,), lambda g: (spread * g / n,))


def depthwise_global(x, w):
    """A depthwise convolution, w (C,1,e,e), that fits the map once."""
    y = np.einsum("nchw,chw->nc", x.value, w.value[:, 0])[:, :, None, None]
    return Node(y, (x, w), lambda g: (g * w.value[:, 0], np.einsum("nc,nchw->chw", g[:, :, 0, 0], x.value)[:, None]))


def sigmoid(x):
    y = 1 / (1 + np.exp(-x.value))
    return Node(y, (x,), lambda g: (g * y * (1 - y),))


def gated_sum(x, gate, shortcut):
    """x times gate (N,C,1,1) plus shortcut."""

    def pull(g):
        return g * gate.value, (g * x.value).sum((2, 3), keepdims=True), g

    return Node(x.value * gate.value + shortcut.value, (x, gate, shortcut), pull)


def concat(*maps):
    cuts = np.cumsum([m.value.shape[1] for m in maps])[:-1]
    return Node(np.concatenate([m.value for m in maps], 1), maps, lambda g: np.split(g, cuts, 1))


def flatten(x):
    return Node(x.value.reshape(len(x.value), -1), (x,), lambda g: (g.reshape(x.value.shape),))


def weighted_sum(x, weights):
    return Node((x.value * weights).sum(), (x,), lambda g: (g * weights,))
