"""MindCV's networks, by the names "mindcv:NAME", where MindCV is installed (the extra `zoo`)."""

import difflib

from mindspore import nn

PREFIX = "mindcv:"


def mindcv_image_size(name):
    """Returns the height and width in pixels that MindCV has the network `name` for: 224 if it says nothing.

    ValueError where MindCV is not installed, or has no such network.
    """
    return _registry(name).get_pretrained_cfg(name.removeprefix(PREFIX)).get("input_size", (3, 224, 224))[1]


def create_mindcv_network(name, num_classes, **settings):
    """Returns MindCV's network `name` as `create_network` returns ours; settings: those of MindCV's `create_model`.

    ValueError as for `mindcv_image_size`, for a setting that it does not take, and for what cannot be trained as a
    classifier.
    """
    _registry(name)
    from mindcv.models import create_model

    try:
        network = create_model(name.removeprefix(PREFIX), num_classes=num_classes, **settings)
    except (TypeError, ValueError, RuntimeError) as error:  # a setting that it has not; REXNet with MindSpore 2.10
        raise ValueError(f"{name}: {str(error).strip().splitlines()[0]}") from error
    if getattr(network, "aux_logits", False):
        raise ValueError(
            f"{name} has further outputs in training: its loss is to be written (forward=, docs/engine.md)"
        )
    network.network_name, network.head_prefix = name, _head(network, num_classes, name)
    network.stage_prefixes = _stages(network)
    return network


def _registry(name):
    """MindCV's register of networks, which holds `name`."""
    try:
        from mindcv.models import registry
    except ImportError as error:
        raise ValueError(f"{name}: {error}; pip install 'cellwright[zoo]' brings MindCV") from None
    bare = name.removeprefix(PREFIX)
    if not registry.is_model(bare):
        near = difflib.get_close_matches(bare, registry.list_models(), n=1)
        hint = f"; did you mean {PREFIX}{near[0]}?" if near else ""
        raise ValueError(f"{name}: MindCV has no network of this name{hint}")
    return registry


def _head(network, num_classes, name):
    """How the names of the head's parameters begin: of the last layer with an output for each class."""
    layers = [cell for _, cell in network.cells_and_names() if isinstance(cell, (nn.Dense, nn.Conv2d))]
    heads = [cell for cell in layers if cell.out_channels == num_classes]
    if not heads:
        raise ValueError(f"{name}: none of its layers has an output for each of {num_classes} classes")
    return heads[-1].weight.name.removesuffix("weight")


def _stages(network):
    """The names of the parameters, a tuple for each stage: see `fine_tuning.stages`."""
    ends, stages, inside = _ends(network), [[]], None
    for name, cell in network.cells_and_names():
        if inside and not name.startswith(f"{inside}."):
            stages.append([])
            inside = None
        if name in ends:
            inside = name
        stages[-1] += [p.name for p in cell.get_parameters(expand=False) if not p.name.startswith(network.head_prefix)]
    return *(tuple(stage) for stage in stages if stage), (network.head_prefix,)


def _ends(network):
    """Names of the cells behind which the next stage begins: the last one of each resolution, where MindCV lists them
    (feature_info); else the outermost cells that have cells with parameters, or parameters.
    """
    cells = dict(network.cells_and_names())
    listed = {info["reduction"]: info["name"] for info in getattr(network, "feature_info", ()) if info["name"] in cells}
    if len(listed) > 1:
        return set(listed.values())
    path, parts = "", _parts(network, network.head_prefix)
    while len(parts) == 1:
        path, parts = f"{path}{next(iter(parts))}.", _parts(next(iter(parts.values())), network.head_prefix)
    containers = [name for name, cell in parts.items() if _parts(cell, network.head_prefix)]
    return {f"{path}{name}" for name in containers or parts}


def _parts(cell, head):
    """The cells right inside a cell, by name, that have parameters beside the head's."""
    inner = cell.name_cells().items()
    return {name: part for name, part in inner if any(not p.name.startswith(head) for p in part.get_parameters())}
