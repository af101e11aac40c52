"""The flags of the commands by section, and which command acts on which."""

import dataclasses

from cellwright.dataloader.transforms import RESIZES, TrainTransform
from cellwright.launch.settings.flag_parser import Parser, add_flags, shown
from cellwright.launch.settings.run_settings import NETS, RunSettings
from cellwright.launch.settings.step_settings import StepSettings
from cellwright.launch.settings.transforms import AUGMENTATION

SECTIONS = {
    "network": ("net", "extra", "mlp", "num_classes", "image_size"),
    "data": ("data_path", "val_data_path", "dataset", "sort_classes", "max_bad", "workers", "ledger", "verify_ledger"),
    "run": (
        *("run_dir", "resume", "auto_resume", "pretrained", "weights", "max_steps", "seed", "timeout"),
        *(
            "checkpoint_interval_epochs",
            "checkpoint_steps",
            "checkpoint_minutes",
            "checkpoint_prefix",
            "keep_checkpoint_max",
        ),
        *(
            "log_interval",
            "log_format",
            "tensorboard",
            "tracker",
            "dry_run",
            "explain_cores",
            "explain_buckets",
            "explain_kernels",
        ),
    ),
    "recipe": (
        *("recipe", "epochs", "batch_size", "lr_scheduler", "lr", "lr_reference_batch", "lr_end", "lr_epochs"),
        *("lr_gamma", "t_max", "warmup_epochs", "warmup_lr", "hold_epochs", "optimizer", "momentum", "weight_decay"),
        *("no_decay_rule", "label_smooth_factor", "smooth_off", "mean", "std"),
    ),
    "augmentation": tuple(AUGMENTATION),
    "evaluation": ("eval_interval", "eval_resize", "eval_crop_ratio"),
    "precision": (
        *("amp_level", "amp_dtype", "amp_ascend", "amp_gpu", "amp_cpu", "keep_batchnorm_fp32", "loss_scale"),
        *("dynamic_loss_scale", "dynamic_loss_scale_init", "dynamic_loss_scale_window", "drop_overflow"),
    ),
    "step": (
        *("nesterov", "accumulate", "clip_norm", "ema", "average_statistics", "sync_batch_norm"),
        *("freeze_batch_norm", "lr_depth_factor"),
        *("overlap", "wire_dtype", "shard_update", "bucket_mb"),
    ),
    "machine": ("device_target", "device_id", "backend", "rank_table", "kernels", "bind", "compile_cache"),
}
_CHOICES = {"eval_resize": RESIZES}  # the loader's
TRAIN = frozenset(name for names in SECTIONS.values() for name in names)
PROFILE = TRAIN - {
    *set(SECTIONS["run"]) - {"pretrained", "weights", "seed"},
    *("val_data_path", "max_bad", "ledger", "verify_ledger", "average_statistics", "compile_cache"),
    *SECTIONS["evaluation"],
}
EVAL = frozenset(
    (
        *SECTIONS["network"],
        *("recipe", "data_path", "val_data_path", "dataset", "sort_classes", "workers", "weights", "batch_size"),
        *("label_smooth_factor", "smooth_off", "mean", "std", "eval_resize", "eval_crop_ratio"),
        *("device_target", "device_id", "kernels", "bind", "compile_cache"),
    )
)


def command_parser(program, names):
    """Returns a Parser of the flags `names`, in their sections; the others are refused as flags of other commands."""
    from cellwright.nets import Recipe

    parser = Parser(prog=program, elsewhere=TRAIN - names, usage=f"{program} [--FLAG VALUE ...]")
    owners = RunSettings, StepSettings, Recipe, TrainTransform
    for section, members in SECTIONS.items():
        for name in members:
            if name in names:
                owner = next(kind for kind in owners if name in names_of(kind))
                default, choices = _recipe_default(name, owner), _CHOICES.get(name)
                add_flags(parser, owner, section, only=(name,), defaults=default, choices=choices)
    return parser


def names_of(kind):
    """Returns the names of a settings dataclass's fields, a set."""
    return {field.name for field in dataclasses.fields(kind)}


def _recipe_default(name, owner):
    """What the help says of a recipe's setting: the number if all networks were trained by one, else each network's."""
    from cellwright.nets import Recipe, recipe_for

    if name == "num_classes":
        return {name: "as many as the images have"}
    if owner not in (Recipe, TrainTransform):
        return {}
    recipes = {net: recipe_for(net) for net in NETS}
    if owner is TrainTransform:
        values = {net: shown(recipe.augmentation.get(name, AUGMENTATION[name])) for net, recipe in recipes.items()}
    else:
        values = {net: shown(getattr(recipe, name)) for net, recipe in recipes.items()}
    if len(set(values.values())) == 1:
        return {name: values["genet"]}
    return {name: ", ".join(f"{net} {value}" for net, value in values.items())}
