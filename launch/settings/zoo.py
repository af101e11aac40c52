"""The flags of the MindSpore model zoo's four training scripts, by their names: each works, or is refused and told why.

The zoo's keys that were lines of a config file (lr, max_epoch, per_batch_size, ...) are flags here too.
"""

import argparse

from cellwright.launch.settings.flag_parser import boolean

# Zoo name -> ours. The value stays as it is.
RENAMED = {
    "data_dir": "data_path",
    "data_url": "data_path",
    "dataset_path": "data_path",
    "pre_trained": "pretrained",
    "checkpoint_path": "ckpt",
    "ckpt_path": "run_dir",
    "save_checkpoint_path": "run_dir",
    "save_checkpoint_epochs": "checkpoint_interval_epochs",
    "per_batch_size": "batch_size",
    "max_epoch": "epochs",
    "epoch_size": "epochs",
    "class_num": "num_classes",
    "lr_max": "lr",
    "eta_min": "lr_end",
    "T_max": "t_max",
    "is_dynamic_loss_scale": "dynamic_loss_scale",
    "image_height": "image_size",
    "image_width": "image_size",
}

# Names that meant the same setting, but that need a look at the value.
_DATASETS = {"imagenet": "imagenet2012", "imagenet2012": "imagenet2012", "cifar10": "cifar10"}

REFUSED = {
    "is_modelarts": "training on ModelArts is not part of this project; give local paths",
    "train_url": "uploading to a bucket is not part of this project; --run_dir names the local folder",
    "rank": "ranks come from mpirun",
    "group_size": "ranks come from mpirun: -n",
    "ckpt_interval": "it counted steps in one script and epochs in another; give --checkpoint_interval_epochs",
    "lr_init": "it was the highest rate in one script, the first of the warm-up in another; give --lr or --warmup_lr",
    "is_save_on_master": "rank 0 writes the checkpoints, always",
    "save_checkpoint": "checkpoints are always written; --checkpoint_interval_epochs says how often",
    "use_label_smooth": "--label_smooth_factor 0 turns smoothing off",
    "graph_ckpt": "it changed nothing; drop it",
    "backbone": "it changed nothing; --net names the network",
    "log_path": "logs are in the run folder; --run_dir names it",
    "pretrain_epoch_size": "--resume RUN goes on where a run stopped",
    "all_reduce_fusion_config": "buckets are planned from the sizes of the gradients",
}

# What is taken and changes nothing, because it says what is the case anyway.
NEEDLESS = {"is_distributed": "a run is distributed if mpirun starts it"}
_TRUE_ALONE = {"is_distributed", "is_dynamic_loss_scale"}


def translate(arguments):
    """Returns the command line with the zoo's names replaced by ours; ValueError with why for what is refused."""
    translated, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        name, equals, value = word[2:].partition("=") if word.startswith("--") else ("", "", "")
        if name in REFUSED:
            raise ValueError(f"--{name}: {REFUSED[name]}")
        if name in NEEDLESS or name in RENAMED or name in ("dataset_name", "image_size"):
            if not equals:
                value = rest.pop(0) if rest and not rest[0].startswith("--") else None
            translated += _translated(name, value)
        else:
            translated.append(word)
    return translated


def _translated(name, value):
    """Our words for a flag of the zoo and its value, None where it stands alone."""
    if value is None and name not in _TRUE_ALONE:
        raise ValueError(f"--{name}: a value is missing")
    if name in NEEDLESS:
        try:
            boolean(value or "true")
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"--{name}: {error}; it changes nothing: {NEEDLESS[name]}") from None
        return []
    ours = f"--{RENAMED.get(name, name.replace('dataset_name', 'dataset'))}"
    return [ours] if value is None else [ours, _value(name, value)]


def _value(name, value):
    if name == "dataset_name":
        return _DATASETS.get(value, value)
    if name == "image_size" and "," in value:
        height, _, width = value.partition(",")
        if height.strip() != width.strip():
            raise ValueError(f"--image_size {value}: the networks take square images alone")
        return height.strip()
    return value
