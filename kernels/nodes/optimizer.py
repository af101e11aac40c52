"""The optimizer's work in two nodes: one looks whether all gradients are finite, one moves all parameters."""

import mindspore
import numpy as np
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim


def _one_number(*values):
    return [1]


def _float32(*dtypes):
    return mindspore.float32


def _all_float32(*dtypes):
    wrong = [str(dtype) for dtype in dtypes if "Float32" not in str(dtype)]
    if wrong:
        raise TypeError(f"finite check of {wrong[0]}: only float32 is looked at")
    return mindspore.float32


class AllFinite(nn.Cell):
    """Returns a bool scalar: True if no number of a tuple of float32 tensors is Inf or NaN; reads each number once.

    TypeError for tensors of another dtype.
    """

    def __init__(self):
        super().__init__()
        self.node = ops.Custom(f"{shim()[0]}:cellwright_all_finite", _one_number, _all_float32, func_type="aot")

    def construct(self, tensors):
        return ops.reshape(self.node(*tensors), ()) > 0.5


class MomentumStep(nn.Cell):
    """Moves parameters and moments in place: g' = factor g + decay p; v = momentum v + g'; p = p - lr v.

    With nesterov: p = p - lr (g' + momentum v). decayed: for each parameter whether weight decay acts on it.
    `construct(parameters, moments, gradients, lr, factor)` returns a scalar that is there when the step is done.
    Each number is read and written once, by all threads of the team.
    """

    def __init__(self, momentum, weight_decay, decayed, nesterov=False):
        super().__init__()
        self.settings = mindspore.Tensor(np.array([momentum, weight_decay, nesterov], np.float32))
        self.decayed = mindspore.Tensor(np.array(decayed, np.int64))
        self.node = ops.Custom(f"{shim()[0]}:cellwright_momentum", _one_number, _float32, func_type="aot")
        self.node.add_prim_attr("side_effect_mem", True)  # else a step whose result nobody reads is dropped

    def construct(self, parameters, moments, gradients, lr, factor):
        lr, factor = ops.reshape(lr, (1,)), ops.reshape(factor, (1,))
        return ops.reshape(self.node(self.settings, self.decayed, lr, factor, *parameters, *moments, *gradients), ())
