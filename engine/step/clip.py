"""Clipping by the global norm."""

import mindspore as ms
from mindspore import ops

_map = ops.HyperMap()


def _square_sum(tensor):
    return ops.square(tensor).sum()


def global_norm(tensors):
    """Returns the Euclidean norm over all elements of a tuple of float32 tensors, a float32 scalar tensor."""
    return ops.sqrt(ops.stack(_map(_square_sum, tensors)).sum())


def clip_factor(norm, limit):
    """Returns min(1, limit / norm): the factor that brings gradients of this norm within the limit."""
    return ops.minimum(ops.cast(1.0, ms.float32), limit / ops.maximum(norm, ops.cast(1e-12, ms.float32)))
