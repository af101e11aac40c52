"""Weights from the zoo's checkpoints, safetensors and the state dicts of torchvision and timm."""

import logging
import re

import mindspore as ms
import numpy as np
import pytest
from safetensors.numpy import save_file

from cellwright.nets import create_network, load_pretrained

SMALL = {
    "densenet121": {"blocks": (2, 1, 1, 1)},
    "tinydarknet": {},
    "genet": {"extra": False, "mlp": False, "stages": (2, 1, 1, 1)},
    "vgg16": {"hidden": 8},
}


def network(name, classes=5, **settings):
    return create_network(name, classes, 32, **{**SMALL[name], **settings})


def arrays_of(cell):
    return {p.name: p.asnumpy().copy() for p in cell.get_parameters()}


def random_weights(cell, seed=3):
    random = np.random.default_rng(seed)
    return {name: random.normal(0, 0.05, value.shape).astype(np.float32) for name, value in arrays_of(cell).items()}


def assert_loaded(cell, wanted):
    found = arrays_of(cell)
    assert set(found) == set(wanted)
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)


def write_checkpoint(path, arrays):
    ms.save_checkpoint([{"name": name, "data": ms.Tensor(value)} for name, value in arrays.items()], str(path))
    return path


@pytest.mark.parametrize(
    "name, prefix",
    [("densenet121", "network."), ("densenet121", ""), ("tinydarknet", ""), ("genet", ""), ("vgg16", "")],
)
def test_training_checkpoints_of_the_zoo(tmp_path, name, prefix):
    cell = network(name)
    wanted = random_weights(cell)
    content = {prefix + key: value for key, value in wanted.items()}
    content.update({f"moments.{p.name}": np.zeros(p.shape, np.float32) for p in cell.trainable_params()})
    content.update(
        learning_rate=np.full(60, 0.1, np.float32),
        momentum=np.float32(0.9),
        global_step=np.array([60], np.int32),
        epoch_num=np.int32(2),
        step_num=np.int32(60),
    )
    assert load_pretrained(cell, write_checkpoint(tmp_path / "0-2_30.ckpt", content)) == ()
    assert_loaded(cell, wanted)


@pytest.mark.parametrize("name", SMALL)
def test_safetensors_with_the_networks_own_names(tmp_path, name):
    cell = network(name)
    wanted = random_weights(cell)
    save_file({key: value.astype(np.float64) for key, value in wanted.items()}, tmp_path / "weights.safetensors")
    load_pretrained(cell, tmp_path / "weights.safetensors")
    assert_loaded(cell, wanted)
    assert {p.dtype for p in cell.get_parameters()} == {ms.float32}


@pytest.mark.parametrize("name", SMALL)
def test_a_head_of_other_classes_is_left_out_and_said_so(tmp_path, name, caplog):
    source = network(name, classes=9)
    wanted = random_weights(source)
    path = write_checkpoint(tmp_path / "nine.ckpt", wanted)
    with caplog.at_level(logging.WARNING, logger="nets"):
        cell = create_network(name, 5, 32, pretrained=path, **SMALL[name])
    (line,) = caplog.messages
    assert re.match(r".*nine.ckpt: head of 9 classes left out, this network has 5: ", line)
    found = arrays_of(cell)
    kept = {key for key in found if key.startswith(cell.head_prefix)}
    assert kept and all(key in line for key in kept)
    assert all(len(found[key]) == 5 for key in kept)
    assert all(np.array_equal(found[key], wanted[key]) for key in set(found) - kept)


def test_missing_unknown_and_unlike_names_are_listed_and_nothing_is_changed(tmp_path):
    cell = network("vgg16")
    before = arrays_of(cell)
    content = random_weights(cell)
    del content["layers.0.weight"], content["classifier.6.bias"]
    content["layers.99.weight"] = np.zeros(3, np.float32)
    content["layers.2.weight"] = np.zeros((2, 2), np.float32)
    with pytest.raises(ValueError) as error:
        load_pretrained(cell, write_checkpoint(tmp_path / "odd.ckpt", content))
    assert str(error.value) == (
        f"{tmp_path}/odd.ckpt: not the weights of this vgg16: missing: layers.0.weight, classifier.6.bias; "
        "not in the network: layers.99.weight; other shape: layers.2.weight (2, 2) for (64, 64, 3, 3)"
    )
    assert_loaded(cell, before)


def test_a_head_that_differs_in_more_than_the_classes_is_an_error(tmp_path):
    path = write_checkpoint(tmp_path / "wide.ckpt", random_weights(network("vgg16", classes=9, hidden=16)))
    with pytest.raises(ValueError, match=r"other shape: classifier.0.weight \(16, 512\) for \(8, 512\)"):
        load_pretrained(network("vgg16"), path)


def test_theta_does_not_take_the_weights_of_theta_minus(tmp_path):
    path = write_checkpoint(tmp_path / "minus.ckpt", random_weights(network("genet")))
    with pytest.raises(ValueError, match="missing: layer1.0.downop.0.weight.* and 31 more"):
        load_pretrained(network("genet", extra=True), path)


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "not a checkpoint"),
        (b"hello, this is no file of weights", "not a checkpoint"),
        (b"\x80\x04N.", "not a PyTorch file"),
        (b"\xff" * 7 + b"\x00{", "not a safetensors file"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, content, reason):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"weights.ckpt: {reason}"):
        load_pretrained(network("tinydarknet"), path)
    with pytest.raises(ValueError, match="none.ckpt: cannot be read: No such file"):
        load_pretrained(network("tinydarknet"), tmp_path / "none.ckpt")


# Our names -> torchvision's, written down apart from the code that goes the other way.
_TORCH_NORM = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def torchvision_densenet(name):
    name = name.replace("backbone.features.", "features.").replace("head.fc.", "classifier.")
    name = re.sub(r"(transition\d)\.features", r"\1", name)
    return re.sub(r"cell_list\.(\d+)", lambda m: f"denselayer{int(m[1]) + 1}", name)


def first_torchvision_densenet(name):
    return re.sub(r"(denselayer\d+\.)(norm|conv)(\d)", r"\1\2.\3", torchvision_densenet(name))


def torchvision_vgg(name):
    return name.replace("layers.", "features.")


def timm_vgg(name):
    parts = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}
    for ours, theirs in parts.items():
        name = name.replace(ours, theirs)
    return torchvision_vgg(name)


def torchvision_resnet(name):
    name = (
        name.replace("down_layer.conv", "downsample.0")
        .replace("down_layer.batchnorm", "downsample.1")
        .replace("end_point", "fc")
    )
    name = re.sub(r"conv(\d)\.batchnorm", r"bn\1", name)
    return re.sub(r"conv(\d)\.conv", r"conv\1", name)


def parallel_resnet(name):
    return "module." + torchvision_resnet(name)


@pytest.mark.parametrize(
    "name, settings, theirs",
    [
        ("densenet121", {}, torchvision_densenet),
        ("densenet121", {"transition": "avg"}, first_torchvision_densenet),
        ("vgg16", {}, torchvision_vgg),
        ("vgg16", {}, timm_vgg),
        ("vgg16", {"batch_norm": True, "has_bias": True}, torchvision_vgg),
        ("genet", {}, torchvision_resnet),
        ("genet", {}, parallel_resnet),
    ],
)
def test_state_dicts_of_torchvision_and_timm(tmp_path, name, settings, theirs):
    cell = network(name, **settings)
    wanted = random_weights(cell)
    content = {}
    for key, value in wanted.items():
        module, _, kind = theirs(key).rpartition(".")
        content[f"{module}.{_TORCH_NORM.get(kind, kind)}"] = value
        if kind == "moving_mean":
            content[f"{module}.num_batches_tracked"] = np.array(4, np.int64)
    if theirs is timm_vgg:  # dense layers that are convolutions
        content["pre_logits.fc1.weight"] = content["pre_logits.fc1.weight"].reshape(8, 512, 1, 1)
        content["pre_logits.fc2.weight"] = content["pre_logits.fc2.weight"].reshape(8, 8, 1, 1)
    assert len(content) >= len(wanted)
    save_file({key: np.ascontiguousarray(value) for key, value in content.items()}, tmp_path / "torch.safetensors")
    load_pretrained(cell, tmp_path / "torch.safetensors")
    assert_loaded(cell, wanted)


def test_biases_in_front_of_a_norm_go_into_its_mean(tmp_path):
    """Torchvision's vgg16_bn has them, the CIFAR-10 form has not; what comes out must be the same."""
    with_bias, without = network("vgg16", batch_norm=True, has_bias=True), network("vgg16", batch_norm=True)
    weights = random_weights(with_bias)
    weights.update({key: np.abs(value) + 0.5 for key, value in weights.items() if key.endswith("variance")})
    path = write_checkpoint(tmp_path / "bn.ckpt", weights)
    images = ms.Tensor(np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32))
    results = []
    for cell in (with_bias, without):
        load_pretrained(cell, path)
        results.append(cell.set_train(False)(images).asnumpy())
    assert np.linalg.norm(results[0] - results[1]) <= 1e-5 * np.linalg.norm(results[0])


def test_somebody_elses_network_in_pytorch_is_refused_by_its_names(tmp_path):
    save_file({"stem.bn.running_mean": np.zeros(3, np.float32)}, tmp_path / "torch.safetensors")
    with pytest.raises(
        ValueError, match=r"not the weights of this tinydarknet: .* not in the network: stem\.bn\.moving"
    ):
        load_pretrained(network("tinydarknet"), tmp_path / "torch.safetensors")


def test_the_weights_of_another_network_are_named_as_such(tmp_path):
    ms.save_checkpoint(create_network("tinydarknet", 10, 32), str(tmp_path / "tiny.ckpt"))
    with pytest.raises(ValueError, match="the weights of a tinydarknet, and this network is genet$"):
        load_pretrained(create_network("genet", 10, 32), tmp_path / "tiny.ckpt")
