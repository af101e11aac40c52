import re
from pathlib import Path

import pytest

from cellwright.launch.settings.resolve import read_settings
from cellwright.launch.settings.zoo import NEEDLESS, REFUSED, RENAMED, translate

DOCS = Path(__file__).parents[2] / "docs" / "flags.md"

# The flags of train.py and eval.py in the zoo's DenseNet121, Tiny-DarkNet, GENet_Res50 and VGG16.
ZOO = """data_dir pretrained is_distributed train_url device_target num_classes image_size backbone log_path rank
group_size
dataset_name device_id checkpoint_path data_url pre_trained extra mlp is_modelarts dataset data_path lr_gamma eta_min
T_max log_interval ckpt_path ckpt_interval is_save_on_master per_batch_size graph_ckpt""".split()


_WHERE_IT_ACTS = {
    "device_id": ("--device_target", "GPU"),
    "lr_gamma": ("--lr_scheduler", "exponential"),
    "T_max": ("--lr_scheduler", "cosine_annealing"),
}


@pytest.mark.parametrize("name", ZOO)
def test_every_flag_of_the_zoo_works_or_is_refused_with_a_reason(name):
    values = {"extra": "True", "mlp": "False", "dataset": "cifar10", "device_target": "CPU", "dataset_name": "imagenet"}
    value = values.get(name, "1")
    if name in REFUSED:
        with pytest.raises(ValueError, match=f"--{name}: "):
            translate([f"--{name}", value])
        return
    translated = translate([f"--{name}", value])
    assert bool(translated) != (name in NEEDLESS)
    if name == "checkpoint_path":
        assert translated == ["--ckpt", "1"]  # a flag of launch.eval
    elif name in ("pretrained", "pre_trained", "data_dir", "data_url", "data_path", "ckpt_path"):
        assert translated[1] == "1"
    else:
        read_settings([*translated, *_WHERE_IT_ACTS.get(name, ())], "program")


def test_the_table_in_the_docs_names_every_flag():
    names = set(re.findall(r"`-*([A-Za-z_]+)", DOCS.read_text(encoding="utf-8")))
    assert set(ZOO) | set(RENAMED) | set(REFUSED) | set(NEEDLESS) <= names


def test_both_spellings_of_a_value_are_read():
    assert translate(["--max_epoch=3", "--per_batch_size", "8"]) == ["--epochs", "3", "--batch_size", "8"]
    assert translate(["--image_size", "224,224"]) == ["--image_size", "224"]
    with pytest.raises(ValueError, match="square"):
        translate(["--image_size", "224,200"])
    for line in (["--max_epoch"], ["--max_epoch", "--net", "genet"]):
        with pytest.raises(ValueError, match="--max_epoch: a value is missing"):
            translate(line)


@pytest.mark.parametrize(
    "name, ours", [("--is_distributed", []), ("--is_dynamic_loss_scale", ["--dynamic_loss_scale"])]
)
def test_a_flag_that_is_true_alone_leaves_the_next_word_alone(name, ours):
    rest = ["--net", "genet"]
    assert translate([name, *rest]) == [*ours, *rest] and translate([*rest, name]) == [*rest, *ours]
    for typed in ([name, "0"], [f"{name}=0"]):
        assert translate([*typed, *rest]) == [*ours, *(["0"] if ours else []), *rest]


def test_a_value_that_changes_nothing_has_to_be_one():
    with pytest.raises(ValueError, match="--is_distributed: 'genet' is not true or false; it changes nothing: a run"):
        translate(["--is_distributed", "genet"])
