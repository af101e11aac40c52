"""Gradients in plain numpy: a `Node` holds a value, and a function from its gradient to those of its parents.

Nothing of MindSpore is in it. Values keep the dtype of the leaves: float64 is the oracle, float32 shows how much
rounding alone moves the results of a network.
"""

import numpy as np


class Node:
    def __init__(self, value, parents=(), pull=None):
        self.value, self.parents, self.pull = value, parents, pull
        self.grad = None


def backward(node, grad):
    """Fills `grad` of everything that `node` was made from, given its own; None where nothing arrives."""
    order, seen, stack = [], {id(node)}, [(node, iter(node.parents))]
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
    node.grad = grad
    for current in reversed(order):
        if current.pull is None:
            continue
        for parent, part in zip(current.parents, current.pull(current.grad)):
            parent.grad = part if parent.grad is None else parent.grad + part


def elementwise(x, value, slope):
    """A function of each number: its values, and its derivative there."""
    return Node(value, (x,), lambda g: (g * slope,))


def conv(x, w, bias, stride, pads, dilation, group):
    """x (N,C,H,W), w (O,C/group,kh,kw); pads ((top, bottom), (left, right))."""
    padded = np.pad(x.value, [(0, 0), (0, 0), *pads])
    places = list(window_places(padded.shape[2:], w.value.shape[2:], stride, dilation))
    met = np.stack([padded[place] for place in places], axis=2)  # (N, C, kernel, h, w)
    images, channels, taps, height, width = met.shape
    outs = w.value.shape[0]
    # A row for each pixel of the result, a block of columns for each group.
    rows = met.reshape(images, group, channels // group, taps, -1).transpose(1, 0, 4, 2, 3)
    rows = np.ascontiguousarray(rows).reshape(group, images * height * width, -1)
    columns = w.value.reshape(group, outs // group, -1)
    y = rows @ columns.transpose(0, 2, 1)  # (group, pixels, outs of a group)
    y = y.reshape(group, images, height * width, -1).transpose(1, 0, 3, 2).reshape(images, outs, height, width)
    if bias is not None:
        y = y + bias.value[:, None, None]

    def pull(g):
        g_rows = g.reshape(images, group, outs // group, -1).transpose(1, 0, 3, 2).reshape(group, len(rows[0]), -1)
        g_met = (g_rows @ columns).reshape(group, images, height * width, channels // group, taps)
        g_met = g_met.transpose(1, 0, 3, 4, 2).reshape(met.shape)
        g_padded = np.zeros_like(padded)
        for k, place in enumerate(places):
            g_padded[place] += g_met[:, :, k]
        g_w = (g_rows.transpose(0, 2, 1) @ rows).reshape(w.value.shape)
        found = (unpadded(g_padded, pads), g_w)
        return found if bias is None else (*found, g.sum((0, 2, 3)))

    return Node(y, (x, w) if bias is None else (x, w, bias), pull)


def window_places(size, kernel, stride, dilation=(1, 1)):
    """For every place of the kernel the pixels that it meets, as slices of the padded map."""
    outs = [(size[a] - dilation[a] * (kernel[a] - 1) - 1) // stride[a] + 1 for a in (0, 1)]
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            begins = i * dilation[0], j * dilation[1]
            yield (
                slice(None),
                slice(None),
                *(slice(begin, begin + s * (out - 1) + 1, s) for begin, s, out in zip(begins, stride, outs)),
            )


def unpadded(padded, pads):
    (top, bottom), (left, right) = pads
    return padded[:, :, top : padded.shape[2] - bottom, left : padded.shape[3] - right]


def batch_norm(x, gamma, beta, mean, variance, eps, training):
    """mean, variance: moving ones, used if not `training`. Returns the node, and the batch's own statistics or None."""
    count = x.value.size // x.value.shape[1]
    own = None
    if training:
        # In float64 whatever the dtype: numpy's float32 sums would say more of numpy than of rounding.
        wide = x.value.astype(np.float64)
        own = [found.astype(x.value.dtype) for found in (wide.mean((0, 2, 3)), wide.var((0, 2, 3)))]
    centre, spread = own or (mean, variance)
    scale = (1 / np.sqrt(spread + x.value.dtype.type(eps)))[:, None, None]
    xhat = (x.value - centre[:, None, None]) * scale

    def pull(g):
        g_gamma, g_beta = (g * xhat).sum((0, 2, 3)), g.sum((0, 2, 3))
        gx = g
        if training:
            gx = g - g_beta[:, None, None] / count - xhat * g_gamma[:, None, None] / count
        return gx * gamma.value[:, None, None] * scale, g_gamma, g_beta

    y = xhat * gamma.value[:, None, None] + beta.value[:, None, None]
    return Node(y.astype(x.value.dtype), (x, gamma, beta), pull), own


def row_norm(x, gamma, beta, eps, rows, maps):
    """Each row less its mean, by its deviation. rows, maps: functions from (N, C, H, W) to rows and back."""
    wide = rows(x.value).astype(np.float64)
    mean, spread = (found.astype(x.value.dtype) for found in (wide.mean(1, keepdims=True), wide.var(1, keepdims=True)))
    scale = 1 / np.sqrt(spread + x.value.dtype.type(eps))
    normed = (rows(x.value) - mean) * scale
    xhat = maps(normed)

    def pull(g):
        own = rows(g * gamma.value[:, None, None])
        own = own - own.mean(1, keepdims=True) - normed * (own * normed).mean(1, keepdims=True)
        return maps(own * scale), (g * xhat).sum((0, 2, 3)), g.sum((0, 2, 3))

    y = xhat * gamma.value[:, None, None] + beta.value[:, None, None]
    return Node(y.astype(x.value.dtype), (x, gamma, beta), pull)


def max_pool(x, kernel, stride, pads):
    """Returns the node, and by how much each window's largest number exceeds its second one (ties excepted)."""
    padded = np.pad(x.value, [(0, 0), (0, 0), *pads], constant_values=-np.inf)
    places = list(window_places(padded.shape[2:], kernel, stride))
    met = np.stack([padded[place] for place in places])
    winner = met.argmax(0)
    leads = np.full(1, np.inf)
    if len(met) > 1:
        second, first = np.partition(met, -2, axis=0)[-2:]
        leads = (first - second)[first != second]

    def pull(g):
        gx = np.zeros_like(padded)
        for k, place in enumerate(places):
            gx[place] += g * (winner == k)
        return (unpadded(gx, pads),)

    return Node(met.max(0), (x,), pull), leads


def avg_pool(x, kernel, stride, pads, divisors):
    """divisors: (h, w), by what each window's sum is divided."""
    padded = np.pad(x.value, [(0, 0), (0, 0), *pads])
    places = list(window_places(padded.shape[2:], kernel, stride))
    divisors = divisors.astype(x.value.dtype)

    def pull(g):
        gx = np.zeros_like(padded)
        for place in places:
            gx[place] += g / divisors
        return (unpadded(gx, pads),)

    return Node(sum(padded[place] for place in places) / divisors, (x,), pull)


def dense(x, w, bias):
    """x (N,C), w (O,C)."""
    y = x.value @ w.value.T
    if bias is None:
        return Node(y, (x, w), lambda g: (g @ w.value, g.T @ x.value))
    return Node(y + bias.value, (x, w, bias), lambda g: (g @ w.value, g.T @ x.value, g.sum(0)))


def mean(x, keep):
    """Over height and width."""
    spread = np.full_like(x.value, 1 / (x.value.shape[2] * x.value.shape[3]))
    return Node(x.value.mean((2, 3), keepdims=keep), (x,), lambda g: (spread * g.reshape(*x.value.shape[:2], 1, 1),))


def _summed(g, like):
    """The gradient of something that was broadcast."""
    axes = tuple(axis for axis, size in enumerate(like.shape) if size == 1 and g.shape[axis] > 1)
    return g.sum(axes, keepdims=True) if axes else g


def add(a, b):
    return Node(a.value + b.value, (a, b), lambda g: (_summed(g, a.value), _summed(g, b.value)))


def multiply(a, b):
    return Node(a.value * b.value, (a, b), lambda g: (_summed(g * b.value, a.value), _summed(g * a.value, b.value)))


def concat(*maps):
    cuts = np.cumsum([part.value.shape[1] for part in maps])[:-1]
    return Node(np.concatenate([part.value for part in maps], 1), maps, lambda g: np.split(g, cuts, 1))


def reshape(x, shape):
    return Node(x.value.reshape(shape), (x,), lambda g: (g.reshape(x.value.shape),))


def channels(x, order):
    """The channels x[:, order]; each at most once."""

    def pull(g):
        gx = np.zeros_like(x.value)
        gx[:, order] = g
        return (gx,)

    return Node(x.value[:, order], (x,), pull)


def upsample(x, factor):
    """Nearest."""
    images, count, height, width = x.value.shape
    y = x.value.repeat(factor, 2).repeat(factor, 3)
    return Node(y, (x,), lambda g: (g.reshape(images, count, height, factor, width, factor).sum((3, 5)),))
