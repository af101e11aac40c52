"""Clipping by the global norm."""

import mindspore as ms
from mindspore import ops


def global_norm(tensors):
    """Returns the Euclidean norm over all elements of a tuple of float32 tensors, a float32 scalar tensor."""
    total = ops.square(tensors[0]).sum()
    for tensor in tensors[1:]:
        total = total + ops.square(tensor).sum()
    return ops.sqrt(total)


def clip_factor(norm, limit):
    """Returns min(1, limit / norm): the factor that brings gradients of this norm within the limit."""
    return ops.minimum(ops.cast(1.0, ms.float32), limit / ops.maximum(norm, ops.cast(1e-12, ms.float32)))
