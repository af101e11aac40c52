"""MindCV's networks by name: their heads, their stages, files of weights, and what is refused."""

import re
import sys

import mindspore as ms
import numpy as np
import pytest
from mindcv_place import FOLDERS, INSTALLED
from safetensors.numpy import save_file

from cellwright.engine import ParameterGroup
from cellwright.nets import create_network, freeze_batch_norm, load_pretrained, recipe_for, stages
from cellwright.nets.torch_names import to_torch

HEADS = {
    "resnet18": "classifier.",
    "mobilenet_v2_100": "classifier.1.",
    "vgg11": "classifier.6." if INSTALLED else "classifier.3.",
    "squeezenet1_0": "classifier.1.",
}
STAGES = {"resnet18": 6 if INSTALLED else 4, "mobilenet_v2_100": 6 if INSTALLED else 3}


@pytest.fixture(autouse=True)
def mindcv(monkeypatch):
    for folder in FOLDERS:
        monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("classes", [7, 64])
@pytest.mark.parametrize("name", HEADS)
def test_head_and_stages(name, classes):
    """64: as many as some layers have channels."""
    network = create_network(f"mindcv:{name}", classes)
    assert network.head_prefix == HEADS[name] and network.network_name == f"mindcv:{name}"
    names = [parameter.name for parameter in network.get_parameters()]
    found = [[name for name in names if ParameterGroup(stage).holds(name)] for stage in stages(network)]
    assert [name for stage in found for name in stage] == names  # each in one stage, from the images on
    assert all(name.startswith(network.head_prefix) for name in found[-1])
    assert len(found) == STAGES.get(name, len(found)) >= 3


def test_a_stage_is_of_one_resolution():
    first, *_, last, head = stages(create_network("mindcv:resnet18", 7))
    assert all(name.startswith(("conv1.", "bn1.")) for name in first) and len(first) == 5
    assert len({name.partition(".")[0] for name in last}) == 1 and head == ("classifier.*",)


@pytest.mark.parametrize("ending", ["ckpt", "safetensors", "for torch"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2_100"])
def test_a_file_brings_all_but_a_head_of_other_classes(tmp_path, name, ending):
    """The names of MobileNet's parameters begin as in PyTorch's files."""
    source, path = create_network(f"mindcv:{name}", 9), tmp_path / f"weights.{ending[-4:]}"
    freeze_batch_norm(source)
    wanted = {p.name: p.asnumpy() + 0.5 for p in source.get_parameters()}
    for p in source.get_parameters():
        p.set_data(ms.Tensor(wanted[p.name]))
    if ending == "ckpt":
        ms.save_checkpoint(source, str(path))
    else:
        save_file(to_torch(wanted, source.network_name)[0] if ending == "for torch" else wanted, path)
    network = create_network(f"mindcv:{name}", 5)
    (line,) = load_pretrained(network, path)
    assert "head of 9 classes left out, this network has 5" in line
    for p in network.get_parameters():
        if not p.name.startswith(network.head_prefix):
            np.testing.assert_array_equal(p.asnumpy(), wanted[p.name], err_msg=p.name)


def test_the_weights_of_another_network_are_refused(tmp_path):
    ms.save_checkpoint(create_network("mindcv:resnet18", 5), str(tmp_path / "weights.ckpt"))
    with pytest.raises(ValueError, match="not the weights of this mindcv:squeezenet1_0: missing: "):
        load_pretrained(create_network("mindcv:squeezenet1_0", 5), tmp_path / "weights.ckpt")


def test_a_recipe_of_its_own_size():
    recipe = recipe_for("mindcv:vgg11")
    assert (recipe.net, recipe.image_size, recipe.optimizer, recipe.published) == (
        "mindcv:vgg11",
        224,
        "momentum",
        False,
    )
    assert recipe_for("mindcv:resnet18", "cifar10").augmentation["crop"] == "pad"


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("mindcv:resnet19", {}, "MindCV has no network of this name; did you mean mindcv:resnet18?"),
        ("mindcv:inception_v3", {}, "mindcv:inception_v3 has further outputs in training"),
        ("mindcv:resnet18", {"depth": 5}, "mindcv:resnet18: .*depth"),
        ("resnet18", {}, "network 'resnet18' is not one of densenet121, genet, tinydarknet, vgg16, mindcv:NAME"),
    ],
)
def test_what_cannot_be_made_is_one_line(name, settings, message):
    with pytest.raises(ValueError, match=re.sub(r"([?])", r"\\\1", message)) as error:
        create_network(name, 5, **settings)
    assert "\n" not in str(error.value)


def test_without_mindcv_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mindcv", None)
    monkeypatch.delitem(sys.modules, "mindcv.models", raising=False)
    with pytest.raises(ValueError, match=r"mindcv:resnet18: .*mindcv.*; pip install 'cellwright\[zoo\]' brings MindCV"):
        recipe_for("mindcv:resnet18")
