"""The four networks and the recipes of their published training; MindCV's networks, where that is installed."""

from cellwright.nets.fine_tuning import freeze_batch_norm, stages
from cellwright.nets.pretrained import load_pretrained
from cellwright.nets.published_recipes import NORMALISATIONS, recipe_for
from cellwright.nets.recipe import Recipe
from cellwright.nets.registry import create_network, network_names, network_settings

__all__ = [
    "NORMALISATIONS",
    "Recipe",
    "create_network",
    "freeze_batch_norm",
    "load_pretrained",
    "network_names",
    "network_settings",
    "recipe_for",
    "stages",
]
