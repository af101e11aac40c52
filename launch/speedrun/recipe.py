"""What both sides of a speedrun have in common beside the images: network and training as numbers, and the clock."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

MEAN, STD = 73.0, 90.0  # of Fashion-MNIST's pixels, 0 to 255
TARGET = 94.0


def _flag(default, help):
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class Recipe:
    """A residual network and its training by SGD with Nesterov's momentum; pictures are shifted and mirrored."""

    epochs: int = _flag(11, "of a run")
    batch_size: int = _flag(256, "images of a step")
    lr: float = _flag(0.25, "the highest learning rate; it rises and falls on straight lines, from and to 0")
    warmup: float = _flag(0.2, "share of the steps in which it rises")
    momentum: float = _flag(0.9, "Nesterov's")
    weight_decay: float = _flag(5e-4, "of weights, not of biases and norms")
    smooth: float = _flag(0.1, "share of a target that goes to all classes alike")
    padding: int = _flag(1, "pixels by which a training image is shifted at most")
    widths: tuple[int, ...] = _flag((16, 48, 96, 192), "channels after the first convolution and of each stage")

    def __post_init__(self):
        for name, holds, allowed in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch_size", self.batch_size >= 1, "at least 1"),
            ("lr", self.lr > 0, "more than 0"),
            ("warmup", 0 < self.warmup < 1, "between 0 and 1"),
            ("momentum", 0 < self.momentum < 1, "between 0 and 1"),
            ("weight_decay", self.weight_decay >= 0, "0 or more"),
            ("smooth", 0 <= self.smooth < 1, "0 or more, and less than 1"),
            ("padding", 0 <= self.padding < 28, "0 to 27"),
            ("widths", len(self.widths) > 1 and min(self.widths) > 0, "two and more numbers of channels"),
        ):
            if not holds:
                raise ValueError(f"--{name} {getattr(self, name)}: must be {allowed}")

    def rate(self, step, steps):
        """Returns the learning rate of a step, counted from 0."""
        done = (step + 0.5) / steps
        return self.lr * (done / self.warmup if done < self.warmup else (1 - done) / (1 - self.warmup))


def process_seconds():
    """Returns how long this process has been there, in seconds: the start of the interpreter is part of a run."""
    began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began
