"""What every loader is given to do; needs nothing but Python."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """Random resized crops of the JPEGs below `folder`/CLASS, mirrored every other time, in batches without end.

    output: "float32", normalised, or "uint8". jitter: brightness, contrast and saturation by up to 0.4.
    """

    folder: str
    batch: int
    workers: int
    output: str
    jitter: bool = False
    side: int = 224
    area: tuple = (0.08, 1.0)
    ratio: tuple = (3 / 4, 4 / 3)
    mean: tuple = (123.675, 116.28, 103.53)
    std: tuple = (58.395, 57.12, 57.375)
    amount: float = 0.4

    @property
    def floats(self):
        return self.output == "float32"
