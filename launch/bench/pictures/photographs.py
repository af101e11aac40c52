"""Colour photographs that packages carry, for the benchmark; none are in this repository."""

import importlib.util
from pathlib import Path

import cv2

PHOTOGRAPHS = {
    "skimage": (
        "data/astronaut.png",
        "data/coffee.png",
        "data/motorcycle_left.png",
        "data/motorcycle_right.png",
        "data/rocket.jpg",
        "data/retina.jpg",
        "data/hubble_deep_field.jpg",
    ),
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
}


def check_photographs():
    """ValueError where scikit-image or scikit-learn is not installed."""
    if not all(map(importlib.util.find_spec, PHOTOGRAPHS)):
        raise ValueError("--photographs needs the extra of that name: pip install 'cellwright[photographs]'")


def photographs():
    """Returns the colour photographs of 500 x 375 and more that scikit-image and scikit-learn carry, RGB uint8."""
    found = []
    for package, files in PHOTOGRAPHS.items():
        folder = Path(importlib.util.find_spec(package).submodule_search_locations[0])
        found += [cv2.imread(str(folder / file), cv2.IMREAD_COLOR_RGB) for file in files]
    return found
