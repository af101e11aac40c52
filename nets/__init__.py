"""The four networks and the recipes of their published training."""

from cellwright.nets.hub import create_network, network_names, network_settings
from cellwright.nets.pretrained import load_pretrained
from cellwright.nets.recipe import Recipe
from cellwright.nets.recipes import NORMALISATIONS, recipe_for

__all__ = [
    "NORMALISATIONS",
    "Recipe",
    "create_network",
    "load_pretrained",
    "network_names",
    "network_settings",
    "recipe_for",
]
