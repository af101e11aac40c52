"""Sets a parameter where compiled graphs read it."""

from mindspore import Tensor, ops


def set_value(parameter, value):
    """Sets a parameter to a numpy array of its shape, in the memory that it has.

    `Parameter.set_data` gives it other memory, and a graph that was compiled before goes on with the old one: where it
    reads a parameter in one branch alone, as an update that may be dropped does with the moments, and in PyNative mode
    where it writes one, so that `asnumpy` shows what was set and none of the later steps.
    """
    if parameter.has_init:  # it has no memory yet
        parameter.set_data(Tensor(value, parameter.dtype))
    else:
        ops.assign(parameter, Tensor(value, parameter.dtype))
