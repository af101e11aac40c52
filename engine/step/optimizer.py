"""What all our optimizers share: parameters, groups, state."""

import mindspore as ms
from mindspore import ParameterTuple, nn, ops

from cellwright.engine.step.parameter_groups import settle
from cellwright.engine.step.shard import Shard


class Optimizer(nn.Cell):
    """Base of Momentum, LARS and AdamW: `optimizer(gradients, lr, factor)` moves the parameters.

    params: the parameters that are trained, in the order of the gradients, which are multiplied by factor.
    weight_decay: a number, which acts where `decays(name)` is true (None: everywhere but on biases and on the gamma and
    beta of norms), or a function of the name. groups: ParameterGroups, the first that holds a name decides. lr: the
    rate of a step that is given none. `factors` and `decay` hold what came out for each parameter; `state()` returns
    the parameters that a resume needs; `settings` the numbers, as JSON knows them.

    shard: None, or a group of the ranks of this host (`kernels.nodes.MpiAllreduce.group`), which then share the update,
    each the moments of its part alone; all of them must do the same. It needs a kernel. Weights have the same bits as
    without; `shard` is then a Shard, and `sharded` holds, by prefix, the flat parameters that are of this part. A call
    with own=True takes gradients that are not summed over the ranks, which then have to be those of one host.

    Raises ValueError for an empty list, a frozen parameter and numbers out of range.
    """

    has_schedule = False

    def __init__(self, params, weight_decay, decays, groups, lr, kernel=None, shard=None):
        super().__init__(auto_prefix=False)
        if shard is not None and kernel is None:
            raise ValueError("shard: it needs a kernel, kernels.nodes.MomentumStep or AdamWStep")
        if lr is not None and not lr >= 0.0:
            raise ValueError(f"lr = {lr}: must be >= 0")
        self.lr, self.needs_lr = lr, lr is None
        params = list(params)
        if not params:
            raise ValueError("params is empty: the optimizer needs at least one parameter")
        frozen = next((p.name for p in params if not p.requires_grad), None)
        if frozen is not None:
            raise ValueError(
                f"params: {frozen} is frozen (requires_grad=False); leave it out (network.trainable_params())"
            )
        self.params = ParameterTuple(params)
        self.shard, self.sharded = Shard(params, shard) if shard is not None else None, {}
        self.shares = shard is not None
        self.kernel_options = {} if shard is None else {"group": shard}
        self.factors, self.decay = settle([p.name for p in params], weight_decay, decays, tuple(groups))
        self.settings = {"class": type(self).__name__, "lr": lr}
        if not callable(weight_decay):
            self.settings["weight_decay"] = float(weight_decay)
        self.settings["groups"] = [
            {"names": str(g.names), "lr_factor": g.lr_factor, "weight_decay": g.weight_decay} for g in groups
        ]

    def state(self):
        """Returns the parameters that a resume needs, a list."""
        raise NotImplementedError

    def copies(self, prefix):
        """Returns a tuple of parameters `prefix.<name>` of zeros, one for each that is trained; with a shard a single
        one, `prefix`, of this rank's part of them.
        """
        if self.shard is not None:
            self.sharded[prefix] = self.shard.zeros(prefix)
            return ParameterTuple([self.sharded[prefix]])
        made = self.params.clone(prefix=prefix, init="zeros")
        for parameter in made:
            parameter.requires_grad = False
        return made

    def take_factors(self, weights):
        """Tells the kernel that gradients of these parameters come as factors where a call has own=True."""
        known = {id(weight) for weight in weights}
        self.kernel.take_factors([id(parameter) in known for parameter in self.params])

    def rate(self):
        """Returns the learning rate of a step that is given none, or None."""
        return self.lr

    def scalars(self, lr, factor, own=False):
        """Returns (learning rate, factor) of a step as float32 tensors. ValueError for own=True without a shard."""
        if own and not self.shares:
            raise ValueError("own = True: nobody shares this update (shard)")
        return ops.cast(self.lr if lr is None else lr, ms.float32), ops.cast(factor, ms.float32)
