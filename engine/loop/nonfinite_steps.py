"""What a run does about steps that are not finite: crash dumps, and its end."""

from pathlib import Path

from cellwright.engine.debug.crash_dump import write_crash_dump
from cellwright.engine.debug.divergence import Diverged, DivergenceCheck


class Trouble:
    """Looks at each report; writes a crash dump for the first trouble and for the one that ends the run.

    folder: where `crash_dumps` goes; None writes none. recipe, settings: JSON-able dicts that a crash dump keeps, for
    who builds the step again. `dumps` lists the folders written.
    """

    def __init__(self, step, overflow_limit, folder, rank, size, recipe, settings):
        self.step, self.check = step, DivergenceCheck(step.update.drop, overflow_limit)
        self.folder = Path(folder) if folder is not None else None
        self.rank, self.size, self.recipe, self.settings = rank, size, recipe or {}, settings or {}
        self.dumps: list = []

    def look(self, report, record, batches):
        """Returns a line where a step's report is not in order, else None. batches: function that returns its
        micro-batches.

        Raises Diverged where the run must end.
        """
        trouble, fatal = self.check.look(report)
        if not trouble:
            return None
        told = f"step {record['step']}: {trouble}"
        if self.folder is not None and (fatal or not self.dumps):
            told += self._dump(trouble, report, record, batches())
        if fatal:
            raise Diverged(told)
        return told + "; the step was skipped"

    def _dump(self, trouble, report, record, batches):
        name = f"step{record['step']}" if self.size == 1 else f"step{record['step']}-rank{self.rank}"
        path = self.folder / "crash_dumps" / name
        meta = {
            "trouble": trouble,
            "step": record["step"],
            "epoch": record["epoch"],
            "lr": record["lr"],
            "loss": report.loss,
            "broken_loss_scale": report.loss_scale,
            "rank": self.rank,
            "ranks": self.size,
            "recipe": self.recipe,
            "settings": self.settings,
        }
        found = write_crash_dump(path, self.step, batches, meta)
        self.dumps.append(path)
        return f"; first not finite: {found}; run it again: python -m launch.replay {path}"
