"""Names, shapes and counts of the parameters, against the tables of the published networks."""

import csv
from pathlib import Path

import pytest

from cellwright.nets import create_network

TABLES = Path(__file__).parent / "params"
# table: network, classes, settings, trainable tensors, trainable numbers, all tensors, all numbers
PUBLISHED = {
    "densenet121": ("densenet121", 1000, {}, 364, 7_978_856, 606, 8_062_504),
    "tinydarknet": ("tinydarknet", 1000, {}, 48, 1_043_104, 80, 1_049_488),
    "genet_theta_minus": ("genet", 1000, {"extra": False, "mlp": False}, 161, 25_557_032, 267, 25_610_152),
    "genet_theta_minus_mlp": ("genet", 1000, {"extra": False, "mlp": True}, 193, 28_071_976, 299, 28_125_096),
    "genet_theta": ("genet", 1000, {"extra": True, "mlp": False}, 218, 31_071_272, 362, 31_156_136),
    "genet_theta_plus": ("genet", 1000, {"extra": True, "mlp": True}, 250, 33_586_216, 394, 33_671_080),
    "vgg16_cifar10": ("vgg16", 10, {"batch_norm": True}, 45, 134_305_738, 71, 134_314_186),
    "vgg16_imagenet": ("vgg16", 1000, {}, 32, 138_357_544, 32, 138_357_544),
}


def described(network):
    return {p.name: ("x".join(map(str, p.shape)), str(p.requires_grad)) for p in network.get_parameters()}


@pytest.mark.parametrize("table", PUBLISHED)
def test_parameters_are_those_of_the_published_network(table):
    name, classes, settings, *counts = PUBLISHED[table]
    network = create_network(name, classes, 224, **settings)
    with open(TABLES / f"{table}.csv", newline="") as file:
        published = {row["name"]: (row["shape"], row["trainable"]) for row in csv.DictReader(file)}
    assert described(network) == published
    trainable, every = list(network.trainable_params()), list(network.get_parameters())
    assert counts == [len(trainable), sum(p.size for p in trainable), len(every), sum(p.size for p in every)]


def shapes(name, classes, size, **settings):
    return {p.name: tuple(p.shape) for p in create_network(name, classes, size, **settings).get_parameters()}


@pytest.mark.parametrize(
    "settings, head",
    [
        ({"name": "densenet121"}, "head.fc.weight"),
        ({"name": "tinydarknet"}, "conv16.conv.weight"),
        ({"name": "genet", "extra": False}, "end_point.weight"),
    ],
)
def test_the_class_count_changes_the_head_alone(settings, head):
    name = settings.pop("name")
    ten, thousand = shapes(name, 10, 224, **settings), shapes(name, 1000, 224, **settings)
    assert ten[head][0] == 10
    prefix = head.split(".")[0]
    assert {key.split(".")[0] for key in ten if ten[key] != thousand[key]} == {prefix}


@pytest.mark.parametrize("size, extents", [(224, (28, 28, 14, 7)), (32, (4, 4, 2, 1)), (100, (13, 13, 7, 4))])
def test_genet_gathers_follow_from_the_image_size(size, extents):
    found = shapes("genet", 10, size, mlp=False)
    for stage, (extent, index) in enumerate(zip(extents, (2, 0, 0, 0)), start=1):
        assert found[f"layer{stage}.0.downop.{index}.weight"] == (128 << stage, 1, extent, extent)
    # Stage 1 keeps its dense downsampler at every size, the others never have one.
    assert found["layer1.2.downop.0.weight"] == (256, 256, 3, 3)
    assert "layer2.0.downop.2.weight" not in found


def test_the_single_gather_of_the_paper_covers_the_whole_first_map():
    found = shapes("genet", 10, 224, mlp=False, gather="single")
    assert found["layer1.0.downop.0.weight"] == (256, 1, 56, 56)
    assert "layer1.0.downop.2.weight" not in found


@pytest.mark.parametrize("size, inputs", [(32, 512), (64, 2048), (95, 2048)])
def test_vgg_classifier_follows_from_the_image_size(size, inputs):
    assert shapes("vgg16", 10, size, hidden=16)["classifier.0.weight"] == (16, inputs)
