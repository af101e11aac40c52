"""What a run leaves for people: metrics, curves, events, evaluations and the lines on the console."""

from pathlib import Path

from cellwright.engine.loop.curves import Curves, append_evaluation
from cellwright.engine.loop.metrics import Metrics
from cellwright.engine.loop.progress import Progress
from cellwright.engine.loop.tensorboard import open_events


class RunLog:
    """Takes the records of a run: files of a folder (None: none) and the console. Rank 0 alone should have one.

    tensorboard: write events too. The rest is as in Progress.
    """

    def __init__(self, folder, tensorboard, total_steps, steps_per_epoch, **how):
        self.folder = Path(folder) if folder is not None else None
        self.tensorboard = tensorboard
        self.progress = Progress(total_steps, steps_per_epoch, **how)
        self._metrics = self._curves = self._events = None

    def open(self, first_step):
        """Opens the files; records of `first_step` and later are cut off."""
        if self.folder is not None:
            self._metrics = Metrics(self.folder, first_step)
            self._curves = Curves(self.folder, self.folder.name)
            self._events = open_events(self.folder / "events") if self.tensorboard else None

    def say(self, line):
        """Prints a line."""
        self.progress.say(line)

    def step(self, record, compilations):
        """Takes a step's record, and the Compilations of the step since the last one."""
        if self._metrics:
            self._metrics.write(record)
            self._curves.add_step(record)
        if self._events:
            for name, value in record.items():
                if name not in ("step", "epoch") and value is not None:
                    self._events.add_scalar(name, value, record["step"])
        for compilation in compilations:
            self.say(f"train step compiled in {compilation.seconds:.1f} s ({compilation.changed})")
        self.progress.step(record)

    def evaluation(self, epoch, result, kind, file_name, steps):
        """Takes an evaluation's result after so many epochs; steps: of the last epoch, unless it was whole."""
        self.progress.evaluation(epoch, result, kind, steps)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            result.write(self.folder / file_name)
            record = {"epoch": epoch, "weights": kind, **result.numbers()}
            append_evaluation(self.folder, record)
            if self._curves:
                self._curves.add_evaluation(record)

    def epoch(self, record, seconds, images):
        """Takes the end of an epoch: its last record, how long it took, images on all ranks."""
        self.progress.epoch(record, seconds, images)

    def flush(self):
        """Brings all files up to date."""
        if self._metrics:
            self._metrics.flush()
            self._curves.write()
        if self._events:
            self._events.flush()

    def close(self):
        """Closes the files."""
        for log in (self._metrics, self._events):
            if log:
                log.close()
        self._metrics = self._curves = self._events = None
