"""How a step is computed, where that is not the recipe's business."""

from dataclasses import dataclass

from cellwright.launch.settings.flag_parser import setting


@dataclass(frozen=True)
class StepSettings:
    """How a step is computed, where that is not the recipe's business; checked when they are made."""

    amp_level: str | None = setting(None, "precision; none: the recipe's for the device", ("O0", "O2", "O3"))
    amp_dtype: str = setting(
        "auto", "of O2 and O3; auto: bfloat16 on CPU, float16 elsewhere", ("auto", "float16", "bfloat16")
    )
    nesterov: bool = setting(False, "Nesterov's form of momentum")
    accumulate: int = setting(1, "batches whose gradients are summed before an update")
    clip_norm: float | None = setting(None, "limit of the gradient's global norm; none: no limit")
    ema: float | None = setting(
        None, "decay of a moving average of the weights, which is evaluated too; none: no average"
    )
    drop_overflow: bool = setting(False, "skip a step whose gradients are not finite, with a fixed loss scale too")
    average_statistics: bool = setting(
        True, "average BatchNorm's statistics over ranks before evaluation and checkpoint"
    )
    sync_batch_norm: bool = setting(False, "BatchNorm over the batches of all ranks together; not for genet")
    freeze_batch_norm: bool = setting(
        False, "with --pretrained: BatchNorm keeps its statistics, gamma and beta, but for a norm in the head"
    )
    lr_depth_factor: float = setting(
        1.0, "learning rate of each stage of the network as a share of that of the stage behind it; the head's is whole"
    )
    overlap: str = setting(
        "False",
        "several hosts, back end mpi: sum early gradients while later ones are computed, with the same bits; "
        "auto: if that is measured to be quicker",
        ("True", "False", "auto"),
    )
    wire_dtype: str = setting(
        "float32",
        "several hosts, back end mpi: as what gradients travel between hosts; bfloat16: half the bytes, what it rounds "
        "off is added to the next step's",
        ("float32", "bfloat16"),
    )
    shard_update: str = setting(
        "auto",
        "several ranks a host, back end mpi: each updates its part of the weights for all, and holds the moments of "
        "that part alone; with the same bits, less memory and less traffic; auto: wherever that can be",
        ("True", "False", "auto"),
    )
    bucket_mb: float = setting(25.0, "megabytes of gradients that travel in one allreduce")

    @property
    def why_no_overlap(self):
        """Why sums can't overlap with the computation of such a step, in words; None where they can."""
        if self.accumulate > 1:
            return "gradients leave after the last of several batches (--accumulate)"
        return "with --sync_batch_norm no sum starts before all gradients are there" if self.sync_batch_norm else None

    def __post_init__(self):
        for name in ("overlap", "shard_update"):  # files, and runs from before auto, have True and False
            object.__setattr__(self, name, str(getattr(self, name)))
        for name in ("amp_level", "amp_dtype", "overlap", "wire_dtype", "shard_update"):
            choices, value = self.__dataclass_fields__[name].metadata["choices"], getattr(self, name)
            if value is not None and value not in choices:
                raise ValueError(f"--{name} {value!r}: allowed are {', '.join(choices)}")
        if self.accumulate < 1:
            raise ValueError(f"--accumulate {self.accumulate}: must be at least 1")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"--clip_norm {self.clip_norm}: must be more than 0")
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"--ema {self.ema}: must be between 0 and 1")
        if not 0 <= self.lr_depth_factor <= 1:
            raise ValueError(f"--lr_depth_factor {self.lr_depth_factor}: must be a share, 0 to 1")
        if self.freeze_batch_norm and self.sync_batch_norm:
            raise ValueError("--sync_batch_norm with --freeze_batch_norm: frozen statistics are the same on all ranks")
        if self.wire_dtype != "float32" and self.overlap != "False":
            raise ValueError(
                "--wire_dtype bfloat16 with --overlap: sums that overlap with the backward travel as float32"
            )
        if self.wire_dtype != "float32" and self.drop_overflow:
            raise ValueError(
                "--wire_dtype bfloat16 with --drop_overflow: what was rounded off of a step that is dropped stays"
            )
        if not self.bucket_mb > 0:
            raise ValueError(f"--bucket_mb {self.bucket_mb}: must be more than 0")

    @property
    def bucket_bytes(self):
        return max(4, int(self.bucket_mb * 2**20))
