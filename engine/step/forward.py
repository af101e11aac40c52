"""What a step differentiates: (loss, aux) of a batch, by a network and its loss or by any function."""

import inspect

import mindspore as ms
from mindspore import nn, ops

from cellwright.engine.step.normalise_images import Normalise


class ImageForward(nn.Cell):
    """Returns (mean loss, ()) of images, labels and weights, by a network that classifies images."""

    names = ("images", "labels", "weights")

    def __init__(self, network, loss, normalise=None):
        super().__init__(auto_prefix=False)
        self.network, self.loss = network, loss
        self.normalise = Normalise(*normalise) if normalise is not None else None

    def logits(self, images):
        """Returns the network's outputs as float32."""
        if self.normalise is not None:
            images = self.normalise(images)
        out = self.network(images)
        if isinstance(out, (tuple, list)):
            raise ValueError(
                f"the network returned {len(out)} outputs, and a loss of logits takes one: forward=function"
            )
        return ops.cast(out, ms.float32)

    def construct(self, images, labels, weights):
        return self.loss(self.logits(images), labels, weights), ()


class FunctionForward(nn.Cell):
    """Returns (loss, aux) of a batch by a function or cell that returns a loss or (loss, aux)."""

    names = ()

    def __init__(self, function):
        super().__init__(auto_prefix=False)
        self.function = function

    def construct(self, *batch):
        out = self.function(*batch)
        if isinstance(out, (tuple, list)):
            if len(out) != 2:
                raise ValueError(f"forward returned {len(out)} values: it must return a loss or (loss, aux)")
            loss, aux = out[0], out[1]
        else:
            loss, aux = out, ()
        if loss.ndim != 0:
            raise ValueError(f"forward returned a loss of shape {loss.shape}: it must be a scalar")
        return ops.cast(loss, ms.float32), aux


def cells_of(function):
    """Returns the cells that a function reaches: itself, the object of a method, or what its names stand for."""
    if isinstance(function, nn.Cell):
        return [function]
    owner = getattr(function, "__self__", None)
    if isinstance(owner, nn.Cell):
        return [owner]
    function = inspect.unwrap(getattr(function, "func", function))  # of a functools.partial
    found = []
    values = [owner] if owner is not None else []
    if inspect.isfunction(function) or inspect.ismethod(function):
        seen = inspect.getclosurevars(function)
        values += [*seen.nonlocals.values(), *seen.globals.values()]
    for value in values:
        if isinstance(value, nn.Cell):
            found.append(value)
        elif hasattr(value, "__dict__") and not inspect.ismodule(value) and not inspect.isclass(value):
            found += [part for part in vars(value).values() if isinstance(part, nn.Cell)]
    return list({id(cell): cell for cell in found}.values())


def network_of(function, params):
    """Returns the cell that holds these parameters among those that a function reaches; several come as a CellList.

    Raises ValueError where a parameter lies in none of them.
    """
    holders, missing = [], {id(p): p for p in params}
    for cell in cells_of(function):
        mine = {id(p) for p in cell.get_parameters()} & set(missing)
        if mine:
            holders.append(cell)
            missing = {key: p for key, p in missing.items() if key not in mine}
    if missing:
        name = next(iter(missing.values())).name
        raise ValueError(f"optimizer: forward reaches no cell that holds {name}; is it of another network? (network=)")
    return holders[0] if len(holders) == 1 else nn.CellList(holders, auto_prefix=False)
