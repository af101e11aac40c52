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
