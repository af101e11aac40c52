"""The settings of a run that are not part of a net's recipe."""

from dataclasses import dataclass

from cellwright.dataloader.sources.folder import CLASS_ORDERS
from cellwright.launch.host.collectives import BACKENDS
from cellwright.launch.settings.flag_parser import setting

NETS = ("densenet121", "tinydarknet", "genet", "vgg16")
ANY_NET = "|".join((*NETS, "mindcv:NAME"))
DATASETS = ("imagenet2012", "cifar10")
RECIPES = ("published", "small")
WEIGHTS = ("best", "last", "average")
LOG_FORMATS = ("plain", "zoo")


def of_mindcv(net):
    """True for the name of one of MindCV's networks."""
    return net.startswith("mindcv:")


def check_net(net):
    """Raises ValueError for what is no network's name; whether MindCV has one of it is seen later."""
    if net not in NETS and not of_mindcv(net):
        raise ValueError(f"--net {net!r}: allowed are {ANY_NET.replace('|', ', ')}")


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run that are not part of a net's recipe; checked when they are made."""

    net: str = setting("genet", "the network; mindcv:NAME is one of MindCV's (extra zoo)", value=ANY_NET)
    extra: bool = setting(True, "genet: gather with depthwise convolutions (theta, theta+)")
    mlp: bool = setting(True, "genet: excite through two 1x1 convolutions (theta+)")
    recipe: str | None = setting(
        None, "how it is trained; none: `small` for the embedded images and for fewer than 20,000 of one's own", RECIPES
    )

    data_path: str | None = setting(
        None, "folder with train/ and val/, or the training split; none: the embedded images", value="DIR|FILE"
    )
    val_data_path: str | None = setting(
        None, "the held-back split, where it is not beside the training split", value="DIR|FILE"
    )
    dataset: str | None = setting(
        None, "form of the data; none: cifar10 where its binary files are, else imagenet2012", DATASETS
    )
    sort_classes: str = setting("name", "order of class folders; number: 2 before 10", CLASS_ORDERS)
    max_bad: float = setting(0.001, "share of the training files that may be unreadable before the run ends")
    ledger: str | None = setting(
        None, "write a digest of every training batch to this file (several ranks: FILE.<rank>)", value="FILE"
    )
    verify_ledger: str | None = setting(
        None,
        "end the run at the first training batch that differs from this ledger; a pattern may name several files",
        value="FILE",
    )

    device_target: str = setting("CPU", "where the graph runs", ("CPU", "GPU", "Ascend"))
    backend: str = setting(
        "auto", "what sums gradients over ranks; auto: mpi on CPU, nccl on GPU, hccl on Ascend", BACKENDS
    )
    rank_table: str | None = setting(
        None, "Ascend: a rank table to use; none: RANK_TABLE_FILE, else one is made", value="FILE"
    )
    device_id: int | None = setting(None, "GPU and Ascend: device of a single process; none: the local rank")
    workers: int | None = setting(None, "loader processes of each rank; none: from the rank's cores")
    seed: int = setting(1, "of the initial weights, the order of samples and the augmentation")
    max_steps: int | None = setting(None, "stop after this many steps")
    run_dir: str | None = setting(None, "the run's folder; none: a new one in runs/", value="DIR")
    pretrained: str | None = setting(
        None, "weights to start from: a run, a checkpoint folder or a file", value="RUN|DIR|FILE"
    )
    weights: str | None = setting(None, "which of a run's weights; none: the best, else the last", WEIGHTS)
    resume: str | None = setting(None, "run folder to go on with", value="RUN")
    auto_resume: bool = setting(
        False, "go on from the newest whole checkpoint in --run_dir if it has one, else start there"
    )
    dry_run: bool = setting(False, "print all that a run would do and stop")
    explain_cores: bool = setting(False, "print which core does what and stop")
    explain_buckets: bool = setting(False, "print which gradients travel together and stop")
    explain_kernels: bool = setting(False, "print what our own kernels run, and why not the rest, and stop")
    log_interval: int | None = setting(None, "steps between lines on the console; none: 100, or an epoch if it is less")
    log_format: str = setting("plain", "zoo: the lines that scripts for the zoo's logs look for", LOG_FORMATS)
    tensorboard: bool = setting(False, "write TensorBoard events into the run folder")
    tracker: str | None = setting(
        None,
        "function that is given the run folder and its settings and returns log(dict), see docs/use.md",
        value="MODULE:FUNCTION",
    )
    checkpoint_steps: int | None = setting(None, "a checkpoint after every so many steps too")
    checkpoint_minutes: float = setting(10.0, "a checkpoint at least every so many minutes; 0: not")
    checkpoint_prefix: str | None = setting(None, "checkpoint folders are PREFIX-e<epoch>_b<batch>; none: no prefix")
    eval_interval: int = setting(1, "epochs between evaluations; the last epoch is always evaluated, 0: never")
    kernels: str = setting(
        "auto", "auto: the project's own graph kernels where they win; stock: MindSpore's only", ("auto", "stock")
    )
    bind: str = setting(
        "auto", "auto: each rank and loader worker on cores of its own; none: leave it to the system", ("auto", "none")
    )
    timeout: float = setting(1800.0, "seconds without a step after which a rank counts as hung and ends the job")
    compile_cache: bool = setting(True, "keep compiled graphs on disk for the next start")

    def __post_init__(self):
        for name, field in self.__dataclass_fields__.items():
            choices, value = field.metadata["choices"], getattr(self, name)
            if choices and value not in choices and not (value is None and field.default is None):
                raise ValueError(f"--{name} {value!r}: allowed are {', '.join(choices)}")
        check_net(self.net)
        least = dict.fromkeys(("workers", "max_steps", "log_interval", "checkpoint_steps", "timeout"), 1)
        for name, bound in {**least, "seed": 0, "eval_interval": 0, "device_id": 0, "checkpoint_minutes": 0}.items():
            value = getattr(self, name)
            if value is not None and not value >= bound:
                raise ValueError(f"--{name} {value}: must be at least {bound}")
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"--max_bad {self.max_bad}: must be a share, 0 to 1")
        if self.checkpoint_prefix is not None and (not self.checkpoint_prefix or "/" in self.checkpoint_prefix):
            raise ValueError(f"--checkpoint_prefix {self.checkpoint_prefix!r}: must be a part of a folder's name")
        if self.auto_resume and not self.run_dir:
            raise ValueError("--auto_resume without --run_dir: there is no folder to go on in")
        if self.val_data_path and not self.data_path:
            raise ValueError("--val_data_path without --data_path: the embedded images bring their own held-back split")
