"""Decides when a run has diverged; the same on every rank, because the step's report is."""

import math


class Guard:
    """Looks at each StepReport: `look(report)` returns (what is wrong or None, must the run end).

    overflow_limit: so many skipped steps in a row end the run. A loss that is not finite ends it at once where the step
    was applied all the same (`dropped` False): the weights are spoilt.
    """

    def __init__(self, dropped, overflow_limit=20):
        if overflow_limit < 1:
            raise ValueError(f"overflow_limit = {overflow_limit}: must be >= 1 step")
        self.dropped, self.overflow_limit = dropped, overflow_limit
        self.overflows = 0

    def look(self, report):
        self.overflows = 0 if report.finite else self.overflows + 1
        if self.overflows >= self.overflow_limit:
            return (
                f"{self.overflows} steps in a row overflowed, the last with loss scale {report.loss_scale:g}",
                True,
            )
        if not math.isfinite(report.loss):
            return f"the loss is {report.loss}", not self.dropped
        return None, False
