"""Turns the state dicts of torchvision and timm into this project's parameter names, and back."""

import re

import numpy as np

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}

# For each network: rules from a torch module's name to ours, tried one after the other on every name.
_MODULES = {
    "densenet121": (
        # The first files of torchvision have norm.1 where the later ones have norm1.
        (r"\.(norm|conv)\.([12])$", r".\1\2"),
        (r"\.denselayer(\d+)\.", lambda match: f".cell_list.{int(match[1]) - 1}."),
        (r"^features\.(transition\d)\.", r"features.\1.features."),
        (r"^features\.", "backbone.features."),
        (r"^classifier$", "head.fc"),
    ),
    "vgg16": (
        (r"^features\.", "layers."),
        (r"^pre_logits\.fc1$", "classifier.0"),
        (r"^pre_logits\.fc2$", "classifier.3"),
        (r"^head\.fc$", "classifier.6"),
    ),
    "genet": (
        (r"^(layer\d\.\d+\.conv\d)$", r"\1.conv"),
        (r"^(layer\d\.\d+)\.bn(\d)$", r"\1.conv\2.batchnorm"),
        (r"\.downsample\.0$", ".down_layer.conv"),
        (r"\.downsample\.1$", ".down_layer.batchnorm"),
        (r"^fc$", "end_point"),
    ),
}

# And from ours to theirs. Networks that neither of them has keep our module names.
_BACK = {
    "densenet121": (
        (r"^backbone\.features\.", "features."),
        (r"\.cell_list\.(\d+)\.", lambda match: f".denselayer{int(match[1]) + 1}."),
        (r"^features\.(transition\d)\.features\.", r"features.\1."),
        (r"^head\.fc$", "classifier"),
    ),
    "vgg16": ((r"^layers\.", "features."),),
    "genet": (
        (r"^(layer\d\.\d+)\.conv(\d)\.batchnorm$", r"\1.bn\2"),
        (r"^(layer\d\.\d+\.conv\d)\.conv$", r"\1"),
        (r"\.down_layer\.conv$", ".downsample.0"),
        (r"\.down_layer\.batchnorm$", ".downsample.1"),
        (r"^end_point$", "fc"),
    ),
}
_ORIGINS = {"densenet121": "torchvision's densenet121", "vgg16": "torchvision's vgg16", "genet": "timm's resnet50"}


def is_torch_dict(arrays):
    """Returns whether the names of these weights are, or may be, PyTorch's."""
    return any(name.endswith(".running_mean") or name.startswith(("module.", "features.")) for name in arrays)


def from_torch(arrays, network_name):
    """Returns the weights of a network of torchvision or timm with this project's names and shapes.

    VGG16-BN: a convolution's bias in front of a batch normalisation is taken off the moving mean, which comes
    to the same, as our form has none there. timm's VGG16 holds its dense layers as convolutions: their
    weights are laid flat. A network that they do not have, or not by this form, is expected under its own modules'
    names, as `to_torch` writes it.
    """
    arrays = {re.sub(r"^module\.", "", name): value for name, value in arrays.items()}
    norms = {name.rpartition(".")[0] for name in arrays if name.endswith(".running_mean")}
    translated = {}
    for name, value in arrays.items():
        module, _, kind = name.rpartition(".")
        if kind == "num_batches_tracked":
            continue
        kind = _NORM.get(kind, kind) if module in norms else kind
        for pattern, replacement in _MODULES.get(network_name, ()):
            module = re.sub(pattern, replacement, module)
        translated[f"{module}.{kind}"] = value
    if network_name == "vgg16":
        _flatten_classifier(translated)
    return translated


def to_torch(arrays, network_name):
    """Returns (state dict, whose names it has) for weights by this project's names; `from_torch` reads it back.

    VGG16-BN: the biases that PyTorch's form has in front of a batch normalisation are zero. GENet with gathers or
    excitations, Tiny-DarkNet and MindCV's networks keep their modules' names.
    """
    norms = {name.rpartition(".")[0] for name in arrays if name.endswith(".moving_mean")}
    known = network_name in _BACK and not any("downop" in name or "mlpLayer" in name for name in arrays)
    kinds, found = {ours: theirs for theirs, ours in _NORM.items()}, {}
    for name, value in arrays.items():
        module, _, kind = name.rpartition(".")
        for pattern, replacement in _BACK[network_name] if known else ():
            module = re.sub(pattern, replacement, module)
        if name.rpartition(".")[0] in norms:
            kind = kinds[kind]
            before = re.fullmatch(r"features\.(\d+)", module)
            if network_name == "vgg16" and kind == "weight" and before:
                found[f"features.{int(before[1]) - 1}.bias"] = np.zeros_like(value)
        found[f"{module}.{kind}"] = value
    origin = _ORIGINS[network_name] if known else "this project"
    return found, origin + ("_bn" if network_name == "vgg16" and norms else "")


def fold_vgg_biases(arrays):
    """Takes the biases in front of a batch normalisation off its moving mean, and out of the dict."""
    for name in [name for name in arrays if re.fullmatch(r"layers\.\d+\.bias", name)]:
        mean = f"layers.{int(name.split('.')[1]) + 1}.moving_mean"
        if mean in arrays:
            arrays[mean] = arrays[mean] - arrays.pop(name)


def _flatten_classifier(arrays):
    for name, value in arrays.items():
        if name.startswith("classifier.") and value.ndim == 4:
            arrays[name] = np.reshape(value, (len(value), -1))
