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


def photographs():
    """Returns the colour photographs of 500 x 375 and more that scikit-image and scikit-learn carry, RGB uint8.

    ValueError where one of the two is not installed.
    """
    found = []
    for package, files in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise ValueError("--photographs needs the extra of that name: pip install 'cellwright[photographs]'")
        folder = Path(spec.submodule_search_locations[0])
        found += [cv2.imread(str(folder / file), cv2.IMREAD_COLOR_RGB) for file in files]
    return found
