"""What a person sees: a progress bar on a terminal, plain lines elsewhere, or the zoo's lines."""

import os
import sys
import time

LOG_FORMATS = ("plain", "zoo")


class Progress:
    """Writes the course of a run to a stream; only rank 0 should have one.

    log_format: "plain" prints one line per `log_interval` steps (and a bar on a terminal); "zoo" prints, at the end of
    each epoch, the lines that scripts for the zoo's logs look for.
    """

    def __init__(self, total_steps, steps_per_epoch, *, log_interval=100, log_format="plain", stream=None):
        if log_format not in LOG_FORMATS:
            raise ValueError(f"log_format = {log_format!r}: must be one of {', '.join(LOG_FORMATS)}")
        if log_interval < 1:
            raise ValueError(f"log_interval = {log_interval}: must be >= 1 step")
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.log_interval, self.log_format = log_interval, log_format
        self.stream = stream or sys.stdout
        self.bar = log_format == "plain" and _is_terminal(self.stream)
        self._recent = []
        self._drawn = 0.0

    def say(self, line):
        """Prints one line (above the bar, if there is one)."""
        self.stream.write(("\r\x1b[K" if self.bar else "") + line + "\n")
        self.stream.flush()

    def step(self, record):
        """Takes note of a step's record (see loop/metrics.py)."""
        self._recent.append(record)
        now = time.monotonic()
        if self.bar and now - self._drawn > 0.2:
            self._drawn = now
            share = (record["step"] + 1) / self.total_steps
            filled = int(20 * share)
            self.stream.write(f"\r\x1b[K[{'#' * filled}{'.' * (20 - filled)}] {self._summary(record)}")
            self.stream.flush()
        if self.log_format == "plain" and (record["step"] + 1) % self.log_interval == 0:
            self.say(self._summary(record))
            self._recent.clear()

    def _summary(self, record):
        recent = self._recent[-self.log_interval :]
        busy = sum(r["step_ms"] for r in recent)
        waiting = sum(r["wait_ms"] for r in recent)
        seconds = max((busy + waiting) / 1e3, 1e-9)
        images = sum(r["images_per_s"] * (r["step_ms"] + r["wait_ms"]) for r in recent) / 1e3
        left = (self.total_steps - record["step"] - 1) * seconds / len(recent)
        in_epoch = record["step"] % self.steps_per_epoch + 1
        return (
            f"epoch {record['epoch']} step {in_epoch}/{self.steps_per_epoch}  loss {record['loss']:.4f}  "
            f"lr {record['lr']:.4g}  scale {record['loss_scale']:g}  {images / seconds:.1f} images/s  "
            f"waiting {100 * waiting / (1e3 * seconds):.0f}%  ETA {_clock(left)}"
        )

    def epoch(self, record, seconds, images):
        """Reports the end of an epoch: its last step's record, its duration and the number of images on all ranks."""
        if self.log_format == "zoo":
            steps = self.steps_per_epoch
            self.say(f"epoch: {record['epoch'] + 1} step: {steps}, loss is {record['loss']}")
            self.say(f"epoch time: {seconds * 1e3:.3f} ms, per step time: {seconds * 1e3 / steps:.3f} ms")
            self.say(
                f"epoch[{record['epoch']}], iter[{record['step']}], loss:{record['loss']:.3f}, "
                f"mean_fps:{images / seconds:.2f} imgs/sec"
            )
        self._recent.clear()

    def evaluation(self, epoch, result, kind="trained", steps=0):
        """Reports an EvalResult after so many epochs, the last of which had but `steps` steps unless that is 0."""
        if self.log_format == "zoo":
            for line in result.zoo_lines():
                self.say(line)
        else:
            of = "" if kind == "trained" else f", {kind} weights"
            when = (
                f"after {steps} of {self.steps_per_epoch} steps of epoch {epoch}" if steps else f"after epoch {epoch}"
            )
            self.say(f"{when}{of}: {result.line()}")


def _is_terminal(stream):
    # mpirun gives its ranks a terminal without a width, wherever its own output goes; a launcher that knows the width
    # says so in COLUMNS.
    try:
        columns = os.environ.get("COLUMNS") or os.get_terminal_size(stream.fileno()).columns
        return stream.isatty() and int(columns) > 0
    except (OSError, ValueError):
        return False


def _clock(seconds):
    seconds = int(seconds)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
