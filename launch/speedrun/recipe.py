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

    epochs: int = _flag(9, "of a run")
    batch_size: int = _flag(256, "images of a step")
    lr: float = _flag(0.25, "the highest learning rate; it rises and falls on straight lines, from and to 0")
    warmup: float = _flag(0.2, "share of the steps in which it rises")
    momentum: float = _flag(0.9, "Nesterov's")
    weight_decay: float = _flag(5e-4, "of weights, not of biases and norms")
    smooth: float = _flag(0.1, "share of a target that goes to all classes alike")
    padding: int = _flag(1, "pixels by which a training image is shifted at most")
    widths: tuple[int, ...] = _flag((16, 48, 96, 192), "channels after the first convolution and of each stage")

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 1), ("padding", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")
        for name in ("warmup", "momentum", "smooth"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be between 0 and 1")
        if not (self.lr > 0 and self.weight_decay >= 0):
            raise ValueError(f"--lr {self.lr}, --weight_decay {self.weight_decay}: must be more than 0, and not less")
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"--widths {self.widths}: must be two and more numbers of channels")

    def rate(self, step, steps):
        """Returns the learning rate of a step, counted from 0."""
        done = (step + 0.5) / steps
        return self.lr * (done / self.warmup if done < self.warmup else (1 - done) / (1 - self.warmup))


def process_seconds():
    """Returns how long this process has been there, in seconds: the start of the interpreter is part of a run."""
    began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began
