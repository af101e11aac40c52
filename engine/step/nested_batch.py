"""Batches of any nesting of tuples, lists and dicts: their leaves, and the tensors that a graph takes."""

import mindspore as ms
import numpy as np
from mindspore import Tensor


def map_leaves(function, nest):
    """Returns the same nesting with function(leaf) in the place of every leaf; lists become tuples."""
    if isinstance(nest, (tuple, list)):
        return tuple(map_leaves(function, part) for part in nest)
    if isinstance(nest, dict):
        return {key: map_leaves(function, part) for key, part in nest.items()}
    return function(nest)


def leaves(nest, path=""):
    """Returns a list of (path, leaf) in order; the path of `batch[1]["boxes"]` is "1.boxes"."""
    if isinstance(nest, (tuple, list)):
        parts = list(enumerate(nest))
    elif isinstance(nest, dict):
        parts = list(nest.items())
    else:
        return [(path, nest)]
    return [leaf for key, part in parts for leaf in leaves(part, f"{path}.{key}" if path else str(key))]


def rebuild(shape_of, values):
    """Returns the nesting of `shape_of` with `values`, a dict by path, in the place of its leaves."""
    paths = iter([path for path, _ in leaves(shape_of)])
    return map_leaves(lambda _: values[next(paths)], shape_of)


def as_parts(batch):
    """Returns a batch as the tuple of its parts; a dict or a single array is one part."""
    return (batch,) if isinstance(batch, (dict, np.ndarray, Tensor)) else tuple(batch)


def as_tensor(leaf):
    """Returns a leaf as a tensor of its own dtype; a numpy array shares its memory.

    Raises TypeError for what is no number.
    """
    if isinstance(leaf, Tensor):
        return leaf
    if isinstance(leaf, (bool, int, float)):
        return Tensor(leaf)
    array = np.asarray(leaf)
    if array.dtype.kind not in "biufc":
        raise TypeError(f"a batch holds {type(leaf).__name__} of dtype {array.dtype}: only numbers enter a graph")
    return Tensor.from_numpy(np.ascontiguousarray(array)) if array.ndim else Tensor(array)


def as_input(nest):
    """Returns a nesting of tensors as an argument of a graph: its values may change without a new compilation."""
    return ms.mutable(nest)


def describe(nest, names=()):
    """Returns ((name, shape, dtype), ...) of a nesting of tensors; names: of the outermost places, if they have
    some.
    """
    found = []
    for path, leaf in leaves(nest):
        place, *inner = path.split(".")
        name = names[int(place)] if place.isdigit() and int(place) < len(names) else place
        found.append((".".join([name, *inner]), tuple(leaf.shape), str(leaf.dtype)))
    return tuple(found)


def samples(nest):
    """Returns the length of the first axis of the first leaf that has one, else 1."""
    return next((int(leaf.shape[0]) for _, leaf in leaves(nest) if len(getattr(leaf, "shape", ())) > 0), 1)
