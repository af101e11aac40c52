"""The four networks and the recipes of their published training."""

from nets.hub import create_network, network_names, network_settings
from nets.pretrained import load_pretrained
from nets.recipe import Recipe
from nets.recipes import NORMALISATIONS, recipe_for

__all__ = [
    "NORMALISATIONS",
    "Recipe",
    "create_network",
    "load_pretrained",
    "network_names",
    "network_settings",
    "recipe_for",
]
