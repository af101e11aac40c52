"""The whole training step of SmallNet in float64 numpy: forward, backward by hand, scale, clip, momentum, average."""

import numpy as np


def _windows(x):
    """3x3 neighbourhoods of (N, C, H, W) with a border of zeros: (N, H, W, C * 9)."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return views.transpose(0, 2, 3, 1, 4, 5).reshape(n, h, w, c * 9)


class Oracle:
    """Holds float64 copies of SmallNet's parameters under their names; `step` does what TrainOneStep promises."""

    def __init__(
        self,
        net,
        normalise,
        *,
        momentum,
        weight_decay,
        decays,
        smooth,
        scale=1.0,
        window=None,
        clip=None,
        ema=None,
        nesterov=False,
    ):
        self.p = {p.name: p.asnumpy().astype(np.float64) for p in net.get_parameters()}
        self.names = [p.name for p in net.trainable_params()]
        self.v = {name: np.zeros_like(self.p[name]) for name in self.names}
        self.average = {name: self.p[name].copy() for name in self.names}
        self.mean, self.std = (np.array(numbers) for numbers in normalise)
        self.momentum, self.weight_decay, self.decays, self.smooth = momentum, weight_decay, decays, smooth
        self.scale, self.window, self.clip, self.ema, self.nesterov = scale, window, clip, ema, nesterov
        self.good = self.updates = 0

    def gradients(self, images, labels, poison=1.0):
        p = self.p
        n, classes = len(labels), p["head.bias"].size
        x = ((images.astype(np.float64) - self.mean) / self.std).transpose(0, 3, 1, 2)
        windows = _windows(x)
        conv = windows @ p["conv.weight"].reshape(len(p["conv.weight"]), -1).T  # (N, H, W, C)
        normed, count = conv, conv[..., 0].size
        if "norm.gamma" in p:
            mean, variance = conv.mean((0, 1, 2)), conv.var((0, 1, 2))
            root = np.sqrt(variance + 1e-5)
            unit = (conv - mean) / root
            normed = unit * p["norm.gamma"] + p["norm.beta"]
            unbiased = variance * count / (count - 1)
            self.p["norm.moving_mean"] = 0.9 * p["norm.moving_mean"] + 0.1 * mean
            self.p["norm.moving_variance"] = 0.9 * p["norm.moving_variance"] + 0.1 * unbiased
        active = np.maximum(normed, 0)
        features = active.mean((1, 2))
        logits = features @ p["head.weight"].T + p["head.bias"]
        shifted = logits - logits.max(1, keepdims=True)
        log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
        target = np.full(logits.shape, self.smooth / (classes - 1))
        target[np.arange(n), labels] = 1 - self.smooth
        loss = -(target * log_p).sum() / n
        d_logits = (np.exp(log_p) * target.sum(1, keepdims=True) - target) / n * self.scale * poison
        g = {"head.weight": d_logits.T @ features, "head.bias": d_logits.sum(0)}
        pixels = conv.shape[1] * conv.shape[2]
        d = np.broadcast_to((d_logits @ p["head.weight"])[:, None, None, :] / pixels, conv.shape) * (normed > 0)
        if "norm.gamma" in p:
            g["norm.gamma"], g["norm.beta"] = (d * unit).sum((0, 1, 2)), d.sum((0, 1, 2))
            d = p["norm.gamma"] / root * (d - d.mean((0, 1, 2)) - unit * (d * unit).mean((0, 1, 2)))
        g["conv.weight"] = np.einsum("nhwk,nhwc->kc", d, windows, optimize=True).reshape(p["conv.weight"].shape)
        return loss, g

    def step(self, micro_batches, lr, poison=1.0):
        """Trains by a list of (images, labels); returns the loss. poison: a factor of the gradients, inf to
        overflow.
        """
        statistics = {name: value.copy() for name, value in self.p.items() if "moving" in name}
        losses, total = [], dict.fromkeys(self.names, 0.0)
        with np.errstate(invalid="ignore"):
            for images, labels in micro_batches:
                loss, gradients = self.gradients(images, labels, poison)
                losses.append(loss)
                total = {name: total[name] + gradients[name] for name in self.names}
        unscaled = {name: value / self.scale / len(micro_batches) for name, value in total.items()}
        finite = all(np.isfinite(value).all() for value in unscaled.values())
        if finite:
            self._apply(unscaled, lr)
        else:
            self.p.update(statistics)
        if self.window:
            self.good = self.good + 1 if finite else 0
            if not finite:
                self.scale /= 2
            elif self.good == self.window:
                self.scale, self.good = self.scale * 2, 0
        return float(np.mean(losses))

    def _apply(self, gradients, lr):
        if self.clip:
            norm = np.sqrt(sum((value**2).sum() for value in gradients.values()))
            gradients = {name: value * min(1.0, self.clip / norm) for name, value in gradients.items()}
        self.updates += 1
        for name in self.names:
            g = gradients[name] + (self.weight_decay * self.p[name] if self.decays(name) else 0.0)
            self.v[name] = self.momentum * self.v[name] + g
            self.p[name] = self.p[name] - lr * (g + self.momentum * self.v[name] if self.nesterov else self.v[name])
            if self.ema:
                d = min(self.ema, (1 + self.updates) / (10 + self.updates))
                self.average[name] = d * self.average[name] + (1 - d) * self.p[name]
