"""Finds a network by its name."""

import inspect

from cellwright.nets.densenet import DenseNet
from cellwright.nets.genet import GENet
from cellwright.nets.mindcv_networks import PREFIX, create_mindcv_network
from cellwright.nets.pretrained import load_pretrained
from cellwright.nets.tinydarknet import TinyDarkNet
from cellwright.nets.vgg import VGG

_NETWORKS = {"densenet121": DenseNet, "genet": GENet, "tinydarknet": TinyDarkNet, "vgg16": VGG}


def network_names():
    """Returns the names that `create_network` knows beside "mindcv:NAME", sorted."""
    return tuple(sorted(_NETWORKS))


def network_settings(name):
    """Returns the settings of one of our networks, a dict from name to default; ValueError for an unknown network."""
    if name not in _NETWORKS:
        raise ValueError(f"network {name!r} is not one of {', '.join(network_names())}, {PREFIX}NAME")
    parameters = inspect.signature(_NETWORKS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def create_network(name, num_classes=1000, image_size=224, pretrained=None, **settings):
    """Returns the network `name` as a cell: float images (N, 3, H, W) in, logits (N, num_classes) out.

    The weights are drawn from numpy's global generator (`mindspore.set_seed` sets it), or read from the file
    `pretrained` (see `nets.load_pretrained`). "mindcv:NAME" is one of MindCV's, where that is installed.
    ValueError names an unknown network or setting, a class count or an image size that cannot work.
    """
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ValueError(f"num_classes={num_classes!r} cannot work for {name}: give a whole number, 1 or more")
    if name.startswith(PREFIX):
        network = create_mindcv_network(name, num_classes, **settings)
    else:
        network = _create_ours(name, num_classes, image_size, settings)
    if pretrained:
        load_pretrained(network, pretrained)
    return network


def _create_ours(name, num_classes, image_size, settings):
    known = network_settings(name)
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(map(repr, unknown))}: it has {', '.join(known) or 'none'}")
    return _NETWORKS[name](num_classes, image_size, **settings)
