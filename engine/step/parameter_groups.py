"""Learning rate factors and weight decay by parameter, for our own optimizers."""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with settings of their own: `ParameterGroup("head.*", lr_factor=10.0)`.

    names: a pattern as for file names, several of them, or a function, name -> bool. lr_factor: multiplies the step's
    learning rate. weight_decay: in place of the optimizer's; None leaves it, and where it acts, as it is.

    Raises ValueError for a factor or a decay under 0.
    """

    names: str | tuple | Callable[[str], bool]
    lr_factor: float = 1.0
    weight_decay: float | None = None

    def __post_init__(self):
        if not self.lr_factor >= 0.0:
            raise ValueError(f"lr_factor = {self.lr_factor}: must be >= 0 (ParameterGroup {self.names})")
        if self.weight_decay is not None and not self.weight_decay >= 0.0:
            raise ValueError(f"weight_decay = {self.weight_decay}: must be >= 0 (ParameterGroup {self.names})")

    def holds(self, name: str) -> bool:
        """Returns whether a parameter of this name belongs to the group."""
        if callable(self.names):
            return bool(self.names(name))
        patterns = (self.names,) if isinstance(self.names, str) else self.names
        return any(fnmatchcase(name, pattern) for pattern in patterns)


def decayed_by_default(name: str) -> bool:
    """Returns whether weight decay acts on a parameter of this name if the user does not say: not on biases and
    norms.
    """
    return not name.endswith((".bias", ".gamma", ".beta"))


def settle(names, weight_decay, decays, groups):
    """Returns (learning rate factors, weight decays), a tuple of floats each, of parameters by name.

    weight_decay: a number that acts where decays(name) is true (None: `decayed_by_default`), or a function, name ->
    number. groups: ParameterGroups; the first that holds a name decides. Raises ValueError for a group that holds none
    of them.
    """
    if not callable(weight_decay) and not weight_decay >= 0.0:
        raise ValueError(f"weight_decay = {weight_decay}: must be >= 0")
    if callable(weight_decay) and decays is not None:
        raise ValueError("decays: weight_decay is a function already, and says where it acts")
    decays = decays or decayed_by_default
    factors, amounts, used = [], [], set()
    for name in names:
        number, group = next(((k, g) for k, g in enumerate(groups) if g.holds(name)), (None, None))
        used.add(number)
        if group is not None and group.weight_decay is not None:
            amount = group.weight_decay
        elif callable(weight_decay):
            amount = weight_decay(name)
        else:
            amount = weight_decay if decays(name) else 0.0
        factors.append(float(group.lr_factor) if group is not None else 1.0)
        amounts.append(float(amount))
    for number, group in enumerate(groups):
        if number not in used:
            raise ValueError(f"groups: {group.names} holds no parameter that an earlier group does not hold")
    return tuple(factors), tuple(amounts)
