"""Activations."""

import math

import numpy as np
import numpy_tape as tape
from fuzz.layers.kind import Kind, maps

_SQRT_2_OVER_PI = 0.7978845608028654


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _gelu(x):
    inner = _SQRT_2_OVER_PI * (x + 0.044715 * x**3)
    t = np.tanh(inner)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * _SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x**2)


def _exact_gelu(x):
    below = 0.5 * (1 + np.vectorize(math.erf)(x.astype(np.float64) / math.sqrt(2)))
    return x * below, below + x * np.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)


def _silu(x):
    s = _sigmoid(x)
    return x * s, s * (1 + x * (1 - s))


# name -> (cell, call without a cell or None, where its derivative jumps, values and derivative)
ACTIVATIONS = {
    "relu": ("nn.ReLU()", "ops.relu", (0,), lambda x: (np.maximum(x, 0), x > 0)),
    "leaky": ("nn.LeakyReLU(0.2)", None, (0,), lambda x: (np.where(x > 0, x, 0.2 * x), np.where(x > 0, 1, 0.2))),
    "relu6": ("nn.ReLU6()", "ops.relu6", (0, 6), lambda x: (np.clip(x, 0, 6), (x > 0) & (x < 6))),
    "sigmoid": ("nn.Sigmoid()", "ops.sigmoid", (), lambda x: (_sigmoid(x), _sigmoid(x) * (1 - _sigmoid(x)))),
    "tanh": ("nn.Tanh()", "ops.tanh", (), lambda x: (np.tanh(x), 1 - np.tanh(x) ** 2)),
    "silu": ("nn.SiLU()", "ops.silu", (), _silu),
    "exact gelu": ("nn.GELU(approximate=False)", "ops.gelu", (), _exact_gelu),
    "gelu": ("nn.GELU()", None, (), _gelu),
    "hswish": (
        "nn.HSwish()",
        "ops.hardswish",
        (-3, 3),
        lambda x: (x * np.clip(x + 3, 0, 6) / 6, np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6))),
    ),
    "hsigmoid": ("nn.HSigmoid()", None, (-3, 3), lambda x: (np.clip(x + 3, 0, 6) / 6, ((x > -3) & (x < 3)) / 6)),
}


class Act(Kind):
    def cell(self, step, shapes):
        return ACTIVATIONS[step.name][0] if step.form == "cell" or not ACTIVATIONS[step.name][1] else None

    def call(self, step, name, args):
        return f"{name if name else ACTIVATIONS[step.name][1]}({args[0]})"

    def compute(self, step, inputs, run):
        _, _, kinks, function = ACTIVATIONS[step.name]
        x = inputs[0]
        for kink in kinks:
            run.margin(np.abs(x.value - kink), x.value)
        value, slope = function(x.value)
        return tape.elementwise(x, value.astype(x.value.dtype), np.asarray(slope, x.value.dtype))


class PRelu(Kind):
    def cell(self, step, shapes):
        return f"nn.PReLU({1 if step.shared else shapes[0][1]})"

    def shape(self, step, shapes):
        return maps(shapes)

    def parameters(self, step, shapes):
        return {"w": (1 if step.shared else shapes[0][1],)}

    def compute(self, step, inputs, run):
        x, w = inputs[0], run["w"]
        run.margin(np.abs(x.value), x.value)
        above, slopes = x.value > 0, w.value[:, None, None]

        def pull(g):
            own = np.where(above, 0, g * x.value).sum((0, 2, 3))
            return np.where(above, g, g * slopes), own.sum(keepdims=True) if step.shared else own

        return tape.Node(np.where(above, x.value, slopes * x.value), (x, w), pull)
