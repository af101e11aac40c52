"""One flag for all gradients: is every number finite?"""

from mindspore import ops


def all_finite(tensors):
    """Returns a bool scalar tensor: True if no element of the tuple of tensors is Inf or NaN."""
    flag = ops.isfinite(tensors[0]).all()
    for tensor in tensors[1:]:
        flag = ops.logical_and(flag, ops.isfinite(tensor).all())
    return flag
