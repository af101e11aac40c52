"""AdamW: Adam with weight decay apart from the gradient."""

import math
from collections.abc import Callable, Sequence

import mindspore as ms
from mindspore import Parameter, Tensor, ops

from cellwright.engine.step.optimizer import Optimizer
from cellwright.engine.step.parameter_groups import ParameterGroup

EPS_PLACES = ("outside", "inside")


class AdamW(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) with decoupled weight decay (Loshchilov and Hutter 2019, arXiv
    1711.05101).

    m = b1 * m + (1 - b1) * g; v = b2 * v + (1 - b2) * g^2; with m' = m / (1 - b1^t) and v' = v / (1 - b2^t) after t
    updates, p = p - lr * (m' / (sqrt(v') + eps) + wd * p), or with eps_place="inside" m' / sqrt(v' + eps). State:
    `moments.<parameter>` for m, `squares.<parameter>` for v, and `updates`.

    params, weight_decay, decays, groups, shard: see Optimizer. kernel: None for stock operators, or
    `kernels.nodes.AdamWStep`, which does the whole update in one node.

    Raises ValueError for numbers out of range, an empty list and a frozen parameter.
    """

    def __init__(
        self,
        params,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float | Callable[[str], float] = 0.01,
        decays: Callable[[str], bool] | None = None,
        *,
        eps_place: str = "outside",
        kernel=None,
        groups: Sequence[ParameterGroup] = (),
        lr: float | None = None,
        shard=None,
    ):
        super().__init__(params, weight_decay, decays, groups, lr, kernel, shard)
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"{name} = {beta}: must be in [0, 1)")
        if not eps > 0.0:
            raise ValueError(f"eps = {eps}: must be > 0")
        if eps_place not in EPS_PLACES:
            raise ValueError(f"eps_place = {eps_place!r}: must be one of {', '.join(EPS_PLACES)}")
        self.settings |= {"beta1": beta1, "beta2": beta2, "eps": eps, "eps_place": eps_place}
        self.beta1, self.beta2, self.eps, self.inside = float(beta1), float(beta2), float(eps), eps_place == "inside"
        self.moments, self.squares = self.copies("moments"), self.copies("squares")
        self.updates = Parameter(Tensor(0.0, ms.float32), name="updates", requires_grad=False)
        self.map = ops.HyperMap()
        self.kernel = None
        if kernel is not None:
            rates = self.decay, self.factors
            self.kernel = kernel(beta1, beta2, eps, self.inside, *rates, **self.kernel_options)

    def construct(self, gradients, lr=None, factor=1.0, own=False):
        lr, factor = self.scalars(lr, factor, own)
        updates = self.updates + 1.0
        counted = ops.assign(self.updates, updates)
        lr = ops.depend(lr, counted)
        if self.kernel is not None:
            return self.kernel(self.params, self.moments, self.squares, gradients, lr, factor, updates, own)
        corrections = (_rest_of_power(self.beta1, updates), _rest_of_power(self.beta2, updates))
        move = ops.partial(self.move, lr, factor, corrections)
        return self.map(move, self.params, self.moments, self.squares, gradients, self.decay, self.factors)

    def move(self, lr, factor, corrections, parameter, moment, square, gradient, decay, rate):
        """Updates one parameter and its two moments."""
        gradient = gradient * factor
        first = self.beta1 * moment + (1.0 - self.beta1) * gradient
        second = self.beta2 * square + (1.0 - self.beta2) * ops.square(gradient)
        mean, spread = first / corrections[0], second / corrections[1]
        if self.inside:
            step = mean / ops.sqrt(spread + self.eps)
        else:
            step = mean / (ops.sqrt(spread) + self.eps)
        if decay > 0.0:
            step = step + decay * parameter
        kept = (ops.assign(moment, first), ops.assign(square, second))
        return ops.depend(ops.assign_sub(parameter, (lr * rate) * step), kept)

    def state(self):
        return [*self.moments, *self.squares, self.updates]


def _rest_of_power(base, exponent):
    """Returns 1 - base ** exponent; computed as such it would keep four digits for 0.999 at the first step."""
    if base == 0.0:
        return exponent * 0.0 + 1.0
    return -ops.expm1(exponent * math.log(base))
