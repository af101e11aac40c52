"""Decides when a run has diverged; the same on every rank, because the step's report is."""

import math


class Diverged(RuntimeError):
    """Raised when training cannot go on: the loss is not finite, or too many steps in a row overflowed."""


class DivergenceCheck:
    """Looks at each StepReport: `look(report)` returns (what is wrong or None, must the run end).

    dropped: whether steps that overflow are skipped; where they are applied all the same, a loss that is not finite
    ends the run at once: the weights are spoilt. overflow_limit: so many skipped steps in a row end the run.

    Raises ValueError for a limit under 1.
    """

    def __init__(self, dropped: bool, overflow_limit: int = 20):
        if overflow_limit < 1:
            raise ValueError(f"overflow_limit = {overflow_limit}: must be >= 1 step")
        self.dropped, self.overflow_limit = dropped, overflow_limit
        self.overflows = 0

    def look(self, report) -> tuple:
        """Returns (what is wrong or None, must the run end) for the next StepReport."""
        self.overflows = 0 if report.finite else self.overflows + 1
        if self.overflows >= self.overflow_limit:
            return (
                f"{self.overflows} steps in a row overflowed, the last with loss scale {report.loss_scale:g}",
                True,
            )
        if not math.isfinite(report.loss):
            return f"the loss is {report.loss}", not self.dropped
        return None, False
