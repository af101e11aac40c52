"""Weights under PyTorch's names are those that came in under them."""

import numpy as np
import pytest

from cellwright.nets import create_network
from cellwright.nets.torch_names import fold_vgg_biases, from_torch, is_torch_dict, to_torch

# A name of each kind that the zoo's files have, and its shape there.
CASES = {
    "densenet121": (
        {},
        "torchvision's densenet121",
        {
            "features.conv0.weight": (64, 3, 7, 7),
            "features.denseblock2.denselayer12.norm2.running_var": (128,),
            "features.transition1.conv.weight": (128, 256, 1, 1),
            "features.norm5.bias": (1024,),
            "classifier.weight": (7, 1024),
        },
    ),
    "vgg16": (
        {"hidden": 64, "batch_norm": True},
        "torchvision's vgg16_bn",
        {"features.0.bias": (64,), "features.1.running_mean": (64,), "classifier.6.weight": (7, 64)},
    ),
    "genet": (
        {"extra": False, "mlp": False},
        "timm's resnet50",
        {
            "conv1.weight": (64, 3, 7, 7),
            "bn1.weight": (64,),
            "layer1.0.downsample.1.running_mean": (256,),
            "layer3.5.bn3.bias": (1024,),
            "fc.bias": (7,),
        },
    ),
}


def weights_of(name, settings):
    random = np.random.default_rng(0)
    network = create_network(name, 7, 32, **settings)
    return {p.name: random.normal(size=p.shape).astype(np.float32) for p in network.get_parameters()}


@pytest.mark.parametrize("name", CASES)
def test_there_and_back(name):
    settings, origin, shapes = CASES[name]
    arrays = weights_of(name, settings)
    theirs, told = to_torch(arrays, name)
    assert told == origin and is_torch_dict(theirs)
    assert {key: theirs[key].shape for key in shapes} == shapes
    back = from_torch(theirs, name)
    if name == "vgg16":
        fold_vgg_biases(back)
    assert back.keys() == arrays.keys()
    for key in arrays:
        np.testing.assert_array_equal(back[key], arrays[key], err_msg=key)


@pytest.mark.parametrize("name", ["tinydarknet", "genet"])
def test_what_no_zoo_has_keeps_its_modules(name):
    arrays = weights_of(name, {})
    theirs, origin = to_torch(arrays, name)
    assert origin == "this project" and is_torch_dict(theirs)
    assert any(key.endswith(".running_var") for key in theirs)
    assert not any(key.endswith((".gamma", ".moving_mean")) for key in theirs)
    back = from_torch(theirs, name)
    assert back.keys() == arrays.keys() and all(back[key] is arrays[key] for key in arrays)
