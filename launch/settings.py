"""What a person types: the settings of a run, and how defaults, recipe, file and flags come together."""

import dataclasses
import sys
from dataclasses import dataclass, field
from pathlib import Path

from launch.embedded import embedded_recipe
from launch.flags import Parser, add_flags
from launch.run_folder import read_config
from launch.zoo_flags import translate

NETS = ("densenet121", "tinydarknet", "genet", "vgg16")


def _flag(default, help, choices=None):
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class RunSettings:
    """The settings of a run that are not part of a net's recipe."""

    net: str = _flag("genet", "the network", NETS)
    dataset: str | None = _flag(None, "form of the data; cifar10 for vgg16, else imagenet2012", ("imagenet2012", "cifar10"))
    extra: bool = _flag(True, "genet: gather with depthwise convolutions (theta, theta+)")
    mlp: bool = _flag(True, "genet: excite through two 1x1 convolutions (theta+)")
    data_path: str | None = _flag(None, "folder with train/ and val/, or the training split; none: the embedded images")
    val_data_path: str | None = _flag(None, "folder of the held-back split, where it is not beside the training split")
    max_bad: float = _flag(0.001, "share of the training files that may be unreadable before the run ends")
    ledger: str | None = _flag(None, "write a digest of every training batch to this file (with several ranks FILE.<rank>)")
    verify_ledger: str | None = _flag(None, "end the run at the first training batch that differs from this ledger; a pattern may name several files")
    device_target: str = _flag("CPU", "where the graph runs", ("CPU", "GPU", "Ascend"))
    device_id: int | None = _flag(None, "device of a single process; under mpirun the local rank")
    workers: int | None = _flag(None, "loader processes of each rank; none: from the rank's cores")
    seed: int = _flag(1, "of the initial weights, the order of samples and the augmentation")
    max_steps: int | None = _flag(None, "stop after this many steps")
    run_dir: str | None = _flag(None, "the run's folder; none: a new one in runs/")
    pretrained: str | None = _flag(None, "weights to start from")
    resume: str | None = _flag(None, "run folder to go on with")
    log_interval: int | None = _flag(None, "steps between lines on the console; none: 100, or an epoch if that is less")
    log_format: str = _flag("plain", "zoo: the lines that scripts for the zoo's logs look for", ("plain", "zoo"))
    eval_interval: int = _flag(1, "epochs between evaluations; the last epoch is always evaluated, 0: never")
    kernels: str = _flag("auto", "auto: the project's own graph kernels where they win; stock: MindSpore's only", ("auto", "stock"))
    bind: str = _flag("auto", "auto: each rank and loader worker on cores of its own; none: leave it to the system", ("auto", "none"))
    timeout: float = _flag(1800.0, "seconds without a step after which a rank counts as hung and ends the job")
    compile_cache: bool = _flag(True, "keep compiled graphs on disk for the next start")

    def __post_init__(self):
        for name in ("net", "dataset", "device_target", "kernels", "bind", "log_format"):
            choices = self.__dataclass_fields__[name].metadata["choices"]
            if getattr(self, name) not in choices and not (name == "dataset" and self.dataset is None):
                raise ValueError(f"--{name} {getattr(self, name)!r}: allowed are {', '.join(choices)}")
        for name, least in (("workers", 1), ("max_steps", 1), ("seed", 0), ("eval_interval", 0), ("log_interval", 1), ("device_id", 0), ("timeout", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--{name} {value}: must be at least {least}")
        if not 0 <= self.max_bad <= 1:
            raise ValueError(f"--max_bad {self.max_bad}: must be a share, 0 to 1")
        if self.val_data_path and not self.data_path:
            raise ValueError("--val_data_path without --data_path: the embedded images bring their own held-back split")


def read_settings(arguments, program):
    """Returns (RunSettings, Recipe, given) for the command line of a training run.

    Weakest first: defaults, the net's recipe, its changes for the embedded images, --config FILE (or the config.yaml of
    --resume RUN), flags. given: the names that a file or a flag set. Raises ValueError with one line for a bad value.
    """
    parser = Parser(prog=program)
    parser.add_argument("--config", help="settings from a YAML file such as a run's config.yaml; flags win over it")
    run_names, recipe_names = _add_all_flags(parser)
    given = vars(parser.parse_args(translate(sys.argv[1:] if arguments is None else arguments)))
    file = given.pop("config", None) or given.get("resume")
    if file:
        given = {**_from_file(file, run_names, recipe_names), **given}
    return resolve(given) + (set(given),)


def read_eval_settings(arguments, program):
    """Returns (RunSettings, Recipe, given, weights file, where to write eval.json or None) for an evaluation.

    With --ckpt RUN the run's own settings come before the flags, and its best checkpoint is taken (else its newest).
    """
    parser = Parser(prog=program)
    parser.add_argument("--ckpt", required=True, help="a file of weights, a checkpoint folder, or a run folder")
    parser.add_argument("--json", help="write the result to this file; default with a run folder: its eval.json")
    run_names, recipe_names = _add_all_flags(parser)
    given = vars(parser.parse_args(translate(sys.argv[1:] if arguments is None else arguments)))
    path, output = Path(given.pop("ckpt")), given.pop("json")
    weights = weights_file(path)
    for folder in (path, weights.parent, *weights.parent.parents):
        if (folder / "config.yaml").is_file():
            given = {**_from_file(folder, run_names, recipe_names), **given}
            output = output or (folder / "eval.json" if folder == path else None)
            break
    return resolve(given) + (set(given), str(weights), output)


def weights_file(path):
    """Returns the file of weights that `path` stands for: itself, or the best (else newest) checkpoint of a folder."""
    if path.is_file():
        return path
    for folder in (path, path / "checkpoints"):
        if (folder / "weights.ckpt").is_file():
            return folder / "weights.ckpt"
        if folder.name == "checkpoints" and folder.is_dir():
            from engine import Checkpoints

            checkpoints = Checkpoints(folder)
            found = checkpoints.best() or checkpoints.latest()
            if found:
                return found / "weights.ckpt"
    raise ValueError(f"{path}: neither a file of weights nor a folder with a checkpoint")


def _add_all_flags(parser):
    from nets import Recipe

    run_names = {item.name for item in dataclasses.fields(RunSettings)}
    recipe_names = {item.name for item in dataclasses.fields(Recipe)}
    add_flags(parser, RunSettings, "the run")
    add_flags(parser, Recipe, "the recipe (defaults: the net's published training)", skip=run_names)
    return run_names, recipe_names


def resolve(given):
    """Returns (RunSettings, Recipe) from a mapping of names to values; what is not in it comes from the recipe."""
    from nets import Recipe, recipe_for

    run_names = {item.name for item in dataclasses.fields(RunSettings)}
    settings = RunSettings(**{name: value for name, value in given.items() if name in run_names})
    if settings.dataset is None:
        settings = dataclasses.replace(settings, dataset="cifar10" if settings.net == "vgg16" else "imagenet2012")
    recipe = recipe_for(settings.net, settings.dataset, extra=settings.extra, mlp=settings.mlp)
    if settings.data_path is None:
        recipe = embedded_recipe(recipe)
    recipe_names = {item.name for item in dataclasses.fields(Recipe)} - run_names
    return settings, dataclasses.replace(recipe, **{name: value for name, value in given.items() if name in recipe_names})


def _from_file(file, run_names, recipe_names):
    config = read_config(file)
    unknown = [name for section in ("run", "recipe") for name in config.get(section, {}) if name not in run_names | recipe_names]
    if unknown:
        raise ValueError(f"{file}: unknown setting {unknown[0]!r}")
    values = {**config.get("recipe", {}), **config.get("run", {})}
    for name in ("resume", "run_dir"):
        values.pop(name, None)
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
