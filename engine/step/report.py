"""What a step tells."""

from typing import Any, NamedTuple


class StepReport(NamedTuple):
    """What one update did.

    loss: mean over ranks and micro-batches, weighted by what they count, unscaled. finite: False if the step
    overflowed. loss_scale: the factor that this step used. gradient_norm: global, before clipping; None unless
    gradients are clipped. votes: sum over ranks of `vote`. aux: what forward returned beside the loss, as tensors; with
    accumulation that of the last micro-batch.
    """

    loss: float
    finite: bool
    loss_scale: float
    gradient_norm: float | None = None
    votes: float = 0.0
    aux: Any = ()


class Compilation(NamedTuple):
    """A call that had to compile: seconds, the first step included, and what was new about its arguments."""

    seconds: float
    changed: str


def difference(old, new):
    """Returns in words what differs between two calls: (*descriptions of arguments, (freezing, overlap)), see
    `nested_batch.describe`.
    """
    if old is None:
        return "first step"
    *old, (_, overlapped) = old
    *new, (_, overlaps) = new
    before = {name: rest for name, *rest in old}
    parts = []
    for name, shape, dtype in new:
        was = before.pop(name, None)
        if was is None:
            parts.append(f"{name} {dtype}{list(shape)} is new")
        elif was != [shape, dtype]:
            parts.append(f"{name} {was[1]}{list(was[0])} -> {dtype}{list(shape)}")
    parts += [f"{name} is gone" for name in before]
    if overlapped != overlaps:
        parts.append(f"overlap {'on' if overlaps else 'off'}")
    return ", ".join(parts) or "layers were frozen or thawed"
