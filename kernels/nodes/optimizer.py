"""The optimizer's work in two nodes: one looks whether all gradients are finite, one moves all parameters."""

import math

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


class _Step(nn.Cell):
    def take_factors(self, factored):
        """factored: for each gradient whether it comes as factors, from the next time that a graph is compiled."""
        self.group.take_factors(factored)


class MomentumStep(_Step):
    """Moves parameters and moments in place: g' = factor g + decay p; v = momentum v + g'; p = p - lr rate v.

    With nesterov: p = p - lr rate (g' + momentum v). decays, rates: for each parameter its weight decay and the factor
    of its learning rate. `construct(parameters, moments, gradients, lr, factor)` returns a scalar that is there when
    the step is done. Each number is read and written once, by all threads of the pool.

    group: a SharedGroup, where each rank of a host moves its part of the row that the parameters make and gets the
    others' from them: moments is then one flat tensor that begins with `group.part(numbers)` of the row. The same bits
    on all ranks as each would make alone. own: with a group of one host, the gradients are this rank's own and are
    summed over the ranks on the way: each rank gets the sums of its part alone, and weights for the others; those of
    which `take_factors` was told are then made of factors, see FactoredGradients.
    """

    def __init__(self, momentum, decays, rates, nesterov=False, group=None):
        super().__init__()
        self.group, self.settings = _Group(group), (_row(momentum, nesterov), _row(*decays), _row(*rates))
        self.node = _in_place("cellwright_momentum" if group is None else "cellwright_shared_momentum")

    def construct(self, parameters, moments, gradients, lr, factor, own=False):
        lr, factor = ops.reshape(lr, (1,)), ops.reshape(factor, (1,))
        done = self.node(*self.group(own), *self.settings, lr, factor, *parameters, *moments, *gradients)
        return ops.reshape(done, ())


class AdamWStep(_Step):
    """Moves parameters and both moments in place, as engine.AdamW writes it; eps inside the root or beside it.

    decays, rates: for each parameter its weight decay and the factor of its learning rate. `construct(parameters,
    moments, squares, gradients, lr, factor, updates)`, updates: float32 scalar, the number of this update from 1;
    returns a scalar that is there when the step is done. Each number is read and written once, by all threads of the
    pool. group, own, take_factors: see MomentumStep; moments and squares are then one flat tensor each.
    """

    def __init__(self, beta1, beta2, eps, inside, decays, rates, group=None):
        super().__init__()
        # The rest of a beta is taken in double here: in float32 1 - 0.999 would keep four digits.
        logs = [math.log(beta) if beta > 0.0 else -math.inf for beta in (beta1, beta2)]
        settings = _row(beta1, 1.0 - beta1, beta2, 1.0 - beta2, *logs, eps, inside)
        self.group, self.settings = _Group(group), (settings, _row(*decays), _row(*rates))
        self.node = _in_place("cellwright_adamw" if group is None else "cellwright_shared_adamw")

    def construct(self, parameters, moments, squares, gradients, lr, factor, updates, own=False):
        scalars = ops.reshape(lr, (1,)), ops.reshape(factor, (1,)), ops.reshape(updates, (1,))
        rows = *parameters, *moments, *squares, *gradients
        done = self.node(*self.group(own), *self.settings, *scalars, *rows)
        return ops.reshape(done, ())


class _Group(nn.Cell):
    """What tells a node which ranks share its work, and whether they have their own gradients: no tensor, or one."""

    def __init__(self, group):
        super().__init__()
        self.shared, self.own = (), ()
        if group is not None:
            self.shared, self.own = ((mindspore.Tensor([group.number, own], mindspore.int64),) for own in (0, 1))

    def take_factors(self, factored):
        self.own = (mindspore.Tensor([*self.own[0].asnumpy()[:2], *factored], mindspore.int64),)

    def construct(self, own):
        return self.own if own else self.shared


def _row(*numbers):
    return mindspore.Tensor(np.array(numbers, np.float32))


def _in_place(symbol):
    node = ops.Custom(f"{shim()[0]}:{symbol}", _one_number, _float32, func_type="aot")
    node.add_prim_attr("side_effect_mem", True)  # else a step whose result nobody reads is dropped
    return node
