"""How a step is computed, where that is not the recipe's business."""

from dataclasses import dataclass, field


def _flag(default, help, choices=None):
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class StepSettings:
    """How a step is computed, where that is not the recipe's business."""

    amp_level: str | None = _flag(None, "precision; none: the recipe's for the device", ("O0", "O2", "O3"))
    optimizer: str = _flag("momentum", "lars is for large batches", ("momentum", "lars"))
    nesterov: bool = _flag(False, "Nesterov's form of momentum")
    accumulate: int = _flag(1, "batches whose gradients are summed before an update")
    clip_norm: float | None = _flag(None, "limit of the gradient's global norm")
    ema: float | None = _flag(None, "decay of a moving average of the weights, which is evaluated too")
    drop_overflow: bool = _flag(False, "skip a step whose gradients are not finite, with a fixed loss scale too")
    average_statistics: bool = _flag(True, "average BatchNorm's statistics over ranks before evaluation and checkpoint")
    sync_batch_norm: bool = _flag(False, "BatchNorm over the batches of all ranks together; not for genet")
    overlap: bool = _flag(
        False, "several hosts, back end mpi: sum early gradients while later ones are computed; needs a core to spare"
    )
    bucket_mb: float = _flag(25.0, "megabytes of gradients that travel in one allreduce")

    def __post_init__(self):
        for name in ("amp_level", "optimizer"):
            choices, value = self.__dataclass_fields__[name].metadata["choices"], getattr(self, name)
            if value is not None and value not in choices:
                raise ValueError(f"--{name} {value!r}: allowed are {', '.join(choices)}")
        if self.accumulate < 1:
            raise ValueError(f"--accumulate {self.accumulate}: must be at least 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"--clip_norm {self.clip_norm}: must be more than 0")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"--ema {self.ema}: must be between 0 and 1")
        if not self.bucket_mb > 0:
            raise ValueError(f"--bucket_mb {self.bucket_mb}: must be more than 0")

    @property
    def bucket_bytes(self):
        return max(4, int(self.bucket_mb * 2**20))
