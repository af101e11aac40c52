"""What a person types: the settings of a run, and how defaults, recipe, file and flags come together."""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from cellwright.launch.host.collectives import BACKENDS
from cellwright.launch.settings.embedded import embedded_recipe
from cellwright.launch.settings.flags import Parser, add_flags
from cellwright.launch.settings.run_folder import read_config
from cellwright.launch.settings.step_settings import StepSettings
from cellwright.launch.settings.zoo import translate

NETS = ("densenet121", "tinydarknet", "genet", "vgg16")


# What config.yaml holds but does not hand on to the run that repeats it.
_NOT_REPEATED = ("resume", "auto_resume", "run_dir", "dry_run", "explain_cores", "explain_buckets")


def _flag(default, help, choices=None):
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run that are not part of a net's recipe."""

    net: str = _flag("genet", "the network", NETS)
    dataset: str | None = _flag(
        None, "form of the data; cifar10 for vgg16, else imagenet2012", ("imagenet2012", "cifar10")
    )
    extra: bool = _flag(True, "genet: gather with depthwise convolutions (theta, theta+)")
    mlp: bool = _flag(True, "genet: excite through two 1x1 convolutions (theta+)")
    data_path: str | None = _flag(None, "folder with train/ and val/, or the training split; none: the embedded images")
    val_data_path: str | None = _flag(None, "folder of the held-back split, where it is not beside the training split")
    max_bad: float = _flag(0.001, "share of the training files that may be unreadable before the run ends")
    ledger: str | None = _flag(
        None, "write a digest of every training batch to this file (with several ranks FILE.<rank>)"
    )
    verify_ledger: str | None = _flag(
        None, "end the run at the first training batch that differs from this ledger; a pattern may name several files"
    )
    device_target: str = _flag("CPU", "where the graph runs", ("CPU", "GPU", "Ascend"))
    backend: str = _flag(
        "auto", "what sums gradients over ranks; auto: mpi on CPU, nccl on GPU, hccl on Ascend", BACKENDS
    )
    rank_table: str | None = _flag(None, "Ascend: a rank table to use; none: RANK_TABLE_FILE, else one is made")
    device_id: int | None = _flag(None, "device of a single process; under mpirun the local rank")
    workers: int | None = _flag(None, "loader processes of each rank; none: from the rank's cores")
    seed: int = _flag(1, "of the initial weights, the order of samples and the augmentation")
    max_steps: int | None = _flag(None, "stop after this many steps")
    run_dir: str | None = _flag(None, "the run's folder; none: a new one in runs/")
    pretrained: str | None = _flag(None, "weights to start from")
    resume: str | None = _flag(None, "run folder to go on with")
    auto_resume: bool = _flag(
        False, "go on from the newest whole checkpoint in --run_dir if it has one, else start there"
    )
    dry_run: bool = _flag(False, "print the whole plan and stop")
    explain_cores: bool = _flag(False, "print which core does what and stop")
    explain_buckets: bool = _flag(False, "print which gradients travel together and stop")
    log_interval: int | None = _flag(None, "steps between lines on the console; none: 100, or an epoch if that is less")
    log_format: str = _flag("plain", "zoo: the lines that scripts for the zoo's logs look for", ("plain", "zoo"))
    tensorboard: bool = _flag(False, "write TensorBoard events into the run folder")
    checkpoint_steps: int | None = _flag(None, "a checkpoint after every so many steps too")
    checkpoint_minutes: float = _flag(10.0, "a checkpoint at least every so many minutes; 0: not")
    eval_interval: int = _flag(1, "epochs between evaluations; the last epoch is always evaluated, 0: never")
    kernels: str = _flag(
        "auto", "auto: the project's own graph kernels where they win; stock: MindSpore's only", ("auto", "stock")
    )
    bind: str = _flag(
        "auto", "auto: each rank and loader worker on cores of its own; none: leave it to the system", ("auto", "none")
    )
    timeout: float = _flag(1800.0, "seconds without a step after which a rank counts as hung and ends the job")
    compile_cache: bool = _flag(True, "keep compiled graphs on disk for the next start")

    def __post_init__(self):
        for name in ("net", "dataset", "device_target", "backend", "kernels", "bind", "log_format"):
            choices = self.__dataclass_fields__[name].metadata["choices"]
            if getattr(self, name) not in choices and not (name == "dataset" and self.dataset is None):
                raise ValueError(f"--{name} {getattr(self, name)!r}: allowed are {', '.join(choices)}")
        for name, least in (
            ("workers", 1),
            ("max_steps", 1),
            ("seed", 0),
            ("eval_interval", 0),
            ("log_interval", 1),
            ("checkpoint_steps", 1),
            ("device_id", 0),
            ("timeout", 1),
        ):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} {value}: must be at least {least}")
        if not self.checkpoint_minutes >= 0:
            raise ValueError(f"--checkpoint_minutes {self.checkpoint_minutes}: must be at least 0 minutes")
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"--max_bad {self.max_bad}: must be a share, 0 to 1")
        if self.auto_resume and not self.run_dir:
            raise ValueError("--auto_resume without --run_dir: there is no folder to go on in")
        if self.val_data_path and not self.data_path:
            raise ValueError("--val_data_path without --data_path: the embedded images bring their own held-back split")


@dataclass(frozen=True)
class Resolved:
    """All settings of a job. given: the names that a file or a flag set; the others are defaults."""

    run: RunSettings
    step: StepSettings
    recipe: object
    given: frozenset


def read_settings(arguments, program, *more):
    """Returns (Resolved,) for the command line of a training run. more: dataclasses of further flags, added behind.

    Weakest first: defaults, the net's recipe, its changes for the embedded images, --config FILE (or the config.yaml of
    --resume RUN, or of a run that --auto_resume goes on with), flags. Raises ValueError with one line for a bad value.
    """
    parser = Parser(prog=program)
    parser.add_argument("--config", help="settings from a YAML file such as a run's config.yaml; flags win over it")
    for settings in more:
        add_flags(parser, settings, settings.__doc__.splitlines()[0].rstrip("."))
    given = _parse(parser, arguments)
    others = [kind(**{name: given.pop(name) for name in _names(kind) & given.keys()}) for kind in more]
    file = given.pop("config", None) or given.get("resume") or _begun(given)
    return resolve({**(_from_file(file) if file else {}), **given}), *others


def read_eval_settings(arguments, program):
    """Returns (Resolved, weights file, where to write eval.json or None) for an evaluation.

    With --ckpt RUN the run's own settings come before the flags, and its best checkpoint is taken (else its newest).
    """
    parser = Parser(prog=program)
    parser.add_argument("--ckpt", required=True, help="a file of weights, a checkpoint folder, or a run folder")
    parser.add_argument("--json", help="write the result to this file; default with a run folder: its eval.json")
    given = _parse(parser, arguments)
    path, output = Path(given.pop("ckpt")), given.pop("json")
    weights = weights_file(path)
    for folder in (path, weights.parent, *weights.parent.parents):
        if (folder / "config.yaml").is_file():
            given = {**_from_file(folder), **given}
            output = output or (folder / "eval.json" if folder == path else None)
            break
    return resolve(given), str(weights), output


def _begun(given):
    """The folder of a run that --auto_resume is to go on with, or None."""
    folder = given.get("run_dir")
    return folder if given.get("auto_resume") and folder and (Path(folder) / "config.yaml").is_file() else None


def _parse(parser, arguments):
    from cellwright.nets import Recipe

    add_flags(parser, RunSettings, "the run")
    add_flags(parser, StepSettings, "the step")
    add_flags(parser, Recipe, "the recipe (defaults: the net's published training)", skip=_names(RunSettings))
    return vars(parser.parse_args(translate(sys.argv[1:] if arguments is None else arguments)))


def weights_file(path):
    """Returns the file of weights that `path` stands for: itself, or the best (else newest) checkpoint of a folder."""
    if path.is_file():
        return path
    for folder in (path, path / "checkpoints"):
        if (folder / "weights.ckpt").is_file():
            return folder / "weights.ckpt"
        if folder.name == "checkpoints" and folder.is_dir():
            from cellwright.engine import Checkpoints

            checkpoints = Checkpoints(folder)
            found = checkpoints.best() or checkpoints.latest()
            if found:
                return found / "weights.ckpt"
    raise ValueError(f"{path}: neither a file of weights nor a folder with a checkpoint")


def resolve(given):
    """Returns the Resolved settings for a mapping of names to values; what is not in it comes from the recipe."""
    from cellwright.nets import Recipe, recipe_for

    run = RunSettings(**_part(given, _names(RunSettings)))
    if run.dataset is None:
        run = dataclasses.replace(run, dataset="cifar10" if run.net == "vgg16" else "imagenet2012")
    recipe = recipe_for(run.net, run.dataset, extra=run.extra, mlp=run.mlp)
    if run.data_path is None:
        recipe = embedded_recipe(recipe)
    recipe = dataclasses.replace(recipe, **_part(given, _names(Recipe) - _names(RunSettings)))
    step = StepSettings(**_part(given, _names(StepSettings)))
    if step.sync_batch_norm and run.net == "genet":
        raise ValueError(
            "--sync_batch_norm: genet normalises on parallel branches, whose sums ranks could start in other orders"
        )
    return Resolved(run, step, recipe, frozenset(given))


def to_file(settings):
    """Returns the sections of config.yaml for Resolved settings."""
    skipped = _names(RunSettings) | {"network_settings"}  # these follow from net, dataset, extra and mlp
    recipe = {name: value for name, value in dataclasses.asdict(settings.recipe).items() if name not in skipped}
    return {"run": dataclasses.asdict(settings.run), "step": dataclasses.asdict(settings.step), "recipe": recipe}


def _from_file(file):
    from cellwright.nets import Recipe

    config, values = read_config(file), {}
    for section, kind in (("recipe", Recipe), ("step", StepSettings), ("run", RunSettings)):
        for name, value in (config.get(section) or {}).items():
            if name not in _names(kind):
                raise ValueError(f"{file}: unknown setting {name!r} in section {section!r}")
            values[name] = tuple(value) if isinstance(value, list) else value
    for name in _NOT_REPEATED:
        values.pop(name, None)
    return values


def _names(kind):
    return {item.name for item in dataclasses.fields(kind)}


def _part(given, names):
    return {name: value for name, value in given.items() if name in names}
