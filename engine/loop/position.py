"""Where a run stands: all that a loader with counter-based randomness needs to go on."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Position:
    """The next batch to train on: its epoch, and its index among this rank's batches of that epoch, both from 0."""

    epoch: int = 0
    batch: int = 0

    def __post_init__(self):
        if self.epoch < 0 or self.batch < 0:
            raise ValueError(f"position = ({self.epoch}, {self.batch}): epoch and batch must be >= 0")
