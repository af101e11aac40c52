"""How defaults, recipe, file and flags come together: from a command line to the settings of a run."""

import dataclasses
import sys
import typing
from dataclasses import dataclass
from pathlib import Path

from cellwright.dataloader import TrainTransform
from cellwright.launch.settings.flag_parser import add_flags, value_of_file
from cellwright.launch.settings.idle_flags import refuse_idle_flags
from cellwright.launch.settings.run_folder import settings_in
from cellwright.launch.settings.run_settings import RunSettings, of_mindcv
from cellwright.launch.settings.sections import EVAL, TRAIN, command_parser, names_of
from cellwright.launch.settings.small_recipe import SMALL_SET, embedded_recipe, small_recipe
from cellwright.launch.settings.step_settings import StepSettings
from cellwright.launch.settings.transforms import AUGMENTATION, eval_transform, flat, with_augmentation
from cellwright.launch.settings.weights import find_weights
from cellwright.launch.settings.zoo import translate

# What config.yaml holds but does not hand on to the run that repeats it.
_NOT_REPEATED = ("resume", "auto_resume", "run_dir", "dry_run", "explain_cores", "explain_buckets", "explain_kernels")


@dataclass(frozen=True)
class Resolved:
    """All settings of a job. given: name -> value of what a file or a flag set; typed: the names that a flag set.

    Before the images are known (`for_images`) the recipe is a guess, and so is the number of classes.
    """

    run: RunSettings
    step: StepSettings
    recipe: object
    given: dict
    typed: frozenset

    @property
    def amp_level(self):
        """The precision that is run: O0, O2 or O3."""
        return self.step.amp_level or self.recipe.amp_level(self.run.device_target)

    def for_images(self, classes, images, where):
        """Returns these settings for so many classes and training images, found at `where`; ValueError for a misfit."""
        given = dict(self.given)
        if given.setdefault("num_classes", classes) < classes:
            raise ValueError(f"--num_classes {given['num_classes']}: there are {classes} in {where}")
        if self.run.recipe is None:
            given["recipe"] = "small" if images < SMALL_SET else "published"
        return resolve(given, self.typed, images)


def read_settings(arguments, program, *more, acts_on=TRAIN):
    """Returns (Resolved, *more) for the command line of a training run. more: dataclasses of further flags.

    Weakest first: defaults, the net's recipe, its changes for few images, --config FILE (or the config.yaml of --resume
    RUN, or of a run that --auto_resume goes on with), flags. acts_on: the names of the flags that the command has.
    ValueError with one line for a bad value.
    """
    parser = command_parser(program, acts_on)
    parser.section("run").add_argument(
        "--config", metavar="FILE", help="settings from a YAML file such as a run's config.yaml; flags win over it"
    )
    for settings in more:
        add_flags(parser, settings, settings.__doc__.splitlines()[0].rstrip("."))
    typed = vars(parser.parse_args(translate(sys.argv[1:] if arguments is None else arguments)))
    others = [kind(**{name: typed.pop(name) for name in names_of(kind) & typed.keys()}) for kind in more]
    file = typed.pop("config", None) or typed.get("resume") or _begun(typed)
    if typed.get("resume") and not (Path(file) / "config.yaml").is_file():
        raise ValueError(f"--resume {file}: not a run folder, it holds no config.yaml")
    return resolve(_merged(_from_file(file) if file else {}, typed), frozenset(typed)), *others


def read_eval_settings(arguments, program):
    """Returns (Resolved, Weights, where to write the result or None) for an evaluation.

    With --ckpt RUN the run's own settings come before the flags.
    """
    parser = command_parser(program, EVAL)
    parser.description = (
        "Counts top-1 and top-5 over the held-back images. The settings of --ckpt RUN hold, but for flags."
    )
    section = parser.section("run")
    section.add_argument(
        "--ckpt", required=True, metavar="RUN|DIR|FILE", help="a run, a checkpoint folder, or a file of weights"
    )
    section.add_argument(
        "--json", metavar="FILE", help="write the result to this file (default: a run's eval.json; else nowhere)"
    )
    typed = vars(parser.parse_args(translate(sys.argv[1:] if arguments is None else arguments)))
    weights, output = find_weights(typed.pop("ckpt"), typed.get("weights")), typed.pop("json")
    if "net" in typed and weights.net not in (None, typed["net"]):
        raise ValueError(f"--net {typed['net']}: {weights.given} was trained as {weights.net}")
    given = _merged(_known_from_file(weights.settings, weights.given), typed)
    if given.get("data_path"):
        given.setdefault("recipe", "published")  # the form of a network that nobody tells of
    return resolve({"ckpt": weights.given, **given}, frozenset(typed)), weights, output


def resolve(given, typed=frozenset(), images=None):
    """Returns the Resolved settings for a mapping of names to values; what is not in it comes from the recipe.

    images: how many there are to train on, where that is known. ValueError for a bad value, and for a flag in `typed`
    that does nothing beside the others.
    """
    from cellwright.nets import Recipe, recipe_for

    run = RunSettings(**_part(given, names_of(RunSettings)))
    embedded = run.data_path is None
    of_embedded = "cifar10" if run.net == "vgg16" else "imagenet2012"
    dataset = run.dataset or (of_embedded if embedded else dataset_at(run.data_path))
    recipe = recipe_for(run.net, dataset, extra=run.extra, mlp=run.mlp)
    name = run.recipe or ("small" if embedded else None)
    if embedded:
        recipe = dataclasses.replace(recipe, num_classes=10, image_size=32)
    if name == "small":
        recipe = embedded_recipe(recipe) if embedded else small_recipe(recipe, images or 1, bool(run.pretrained))
    changes = _part(given, names_of(Recipe) - names_of(RunSettings))
    _check_rate(given, recipe.optimizer)
    changes["network_settings"] = _network_settings(recipe, given, typed)
    recipe = with_augmentation(dataclasses.replace(recipe, **changes), _part(given, AUGMENTATION))
    eval_transform(recipe)  # it checks its numbers
    step = StepSettings(**_part(given, names_of(StepSettings)))
    if step.amp_level == "O2" and "keep_batchnorm_fp32" in typed and not recipe.keep_batchnorm_fp32:
        step = dataclasses.replace(step, amp_level="O3")
    if step.wire_dtype != "float32" and recipe.dynamic_loss_scale:
        raise ValueError(
            "--wire_dtype bfloat16 with --dynamic_loss_scale: what is rounded off waits in units of "
            "a loss scale that moves"
        )
    if step.sync_batch_norm and (run.net == "genet" or of_mindcv(run.net)):
        can = "may normalise" if of_mindcv(run.net) else "normalises"
        raise ValueError(
            f"--sync_batch_norm: {run.net} {can} on parallel branches, whose sums ranks could start in other orders"
        )
    run = dataclasses.replace(run, dataset=dataset, recipe=name)
    resolved = Resolved(run, step, recipe, given, typed)
    if name is not None:
        refuse_idle_flags(resolved)
    return resolved


def to_file(settings):
    """Returns the sections of config.yaml for Resolved settings."""
    skipped = names_of(RunSettings)
    recipe = {name: value for name, value in flat(settings.recipe).items() if name not in skipped}
    return {"run": dataclasses.asdict(settings.run), "step": dataclasses.asdict(settings.step), "recipe": recipe}


def dataset_at(data_path):
    """Returns the form of the data at a path: cifar10 where its binary files are, else imagenet2012."""
    from cellwright.dataloader.sources.cifar import EVAL_FOLDER, TRAIN_FOLDER

    root = Path(data_path)
    binary = any((root / name).is_dir() for name in (TRAIN_FOLDER, EVAL_FOLDER))
    return "cifar10" if binary or (root.is_dir() and any(root.glob("*batch*.bin"))) else "imagenet2012"


def _check_rate(given, own):
    optimizer = given.get("optimizer", own)
    if "lr" not in given and "adamw" in (optimizer, own) and optimizer != own:
        usual = "1e-3" if optimizer == "adamw" else "0.02 for a batch of 32"
        raise ValueError(f"--optimizer {optimizer}: the recipe's rates are for {own}, give --lr ({usual} is usual)")


def _network_settings(recipe, given, typed):
    """The recipe's own, but for what a run's file says; what is typed wins over both."""
    stored = {} if "net" in typed else given.get("network_settings", {})
    return {**recipe.network_settings, **stored, **{name: given[name] for name in ("extra", "mlp") if name in typed}}


def _merged(file, typed):
    """Values of a file and of flags as one mapping."""
    values = {**file, **typed}
    if "lr" in typed and "lr_reference_batch" not in typed:
        values["lr_reference_batch"] = None  # a rate that was typed is the rate
    if "data_path" in typed and "val_data_path" not in typed:
        values.pop("val_data_path", None)
    if "data_path" in typed and typed["data_path"] != file.get("data_path") and "dataset" not in typed:
        values.pop("dataset", None)
    return values


def _begun(typed):
    """The folder of a run that --auto_resume is to go on with, or None."""
    folder = typed.get("run_dir")
    return folder if typed.get("auto_resume") and folder and (Path(folder) / "config.yaml").is_file() else None


def _from_file(file):
    """The values of a settings file; ValueError for a name that there is not."""
    from cellwright.nets import Recipe

    sections = settings_in(file)
    recipe = (names_of(Recipe) - {"augmentation"}) | AUGMENTATION.keys()
    for section, names in {"recipe": recipe, "step": names_of(StepSettings), "run": names_of(RunSettings)}.items():
        for name in sections[section]:
            if name not in names:
                raise ValueError(f"{file}: unknown setting {name!r} in section {section!r}")
    return _known_from_file(sections, file)


def _known_from_file(sections, file):
    """The values of sections by name, each as its field holds it; ValueError for what a field cannot hold."""
    from cellwright.nets import Recipe

    types, values = {}, {}
    for kind in (TrainTransform, Recipe, StepSettings, RunSettings):
        types |= typing.get_type_hints(kind)
    for name, value in ((n, v) for part in ("recipe", "step", "run") for n, v in sections.get(part, {}).items()):
        if name in _NOT_REPEATED:
            continue
        try:
            values[name] = value_of_file(types[name], value) if name in types else value
        except ValueError as error:
            raise ValueError(f"{file}: {name}: {error}") from None
    return values


def _part(given, names):
    return {name: value for name, value in given.items() if name in names}
