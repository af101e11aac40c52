"""What a rank of a host updates, where its ranks share the optimizer's work and state."""

import itertools

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor


class Shard:
    """A rank's part of the row of numbers that the trained parameters make, in their order: [begin, end) of it.

    group: what `kernels.nodes.MpiAllreduce.group` is: `part(numbers)` returns (begin, end), `ranks` is how many ranks
    this host has and `host` the number of it. Raises ValueError where a rank would have nothing to update.

    `room`: numbers of the largest part, for which each rank has room: so the ranks' graphs are the same, and one of
    them can compile for all.
    """

    def __init__(self, params, group):
        self.group = group
        self.shapes = {parameter.name: tuple(parameter.shape) for parameter in params}
        self.starts = list(itertools.accumulate((parameter.size for parameter in params), initial=0))
        self.total = self.starts[-1]
        self.begin, self.end = group.part(self.total)
        line = 16  # numbers: a part begins at a cache line
        self.room = -(-self.total // group.ranks) + line
        if self.total < line * group.ranks:
            raise ValueError(f"shard: {self.total} numbers are too few to share between {group.ranks} ranks")

    def zeros(self, name):
        """Returns a new parameter of this name for this rank's part of the row, float32 (room,)."""
        return Parameter(Tensor(np.zeros(self.room), ms.float32), name=name, requires_grad=False)

    def part(self, parameter):
        """Returns the numbers of a parameter that `zeros` made, float32 (end - begin,)."""
        return parameter.asnumpy()[: self.end - self.begin]

    def named(self, prefix, row):
        """Returns {`prefix.<parameter>`: array} of a whole row, (total,), as an optimizer without a shard has them."""
        pieces = zip(self.shapes.items(), itertools.pairwise(self.starts))
        return {f"{prefix}.{name}": row[first:end].reshape(shape) for (name, shape), (first, end) in pieces}

    def own(self, prefix, arrays):
        """Returns this rank's part of what `named` returned, float32 (room,). ValueError where some is missing or of
        another shape.
        """
        parts = []
        for (name, shape), first in zip(self.shapes.items(), self.starts):
            value = arrays.get(f"{prefix}.{name}")
            if value is None or value.shape != shape:
                found = "missing" if value is None else f"of shape {value.shape}, and the parameter is of {shape}"
                raise ValueError(f"{prefix}.{name} is {found}: it was made with other settings")
            parts.append(value.reshape(-1)[max(0, self.begin - first) : max(0, self.end - first)])
        return np.concatenate([*parts, np.zeros(self.room - (self.end - self.begin), np.float32)])
