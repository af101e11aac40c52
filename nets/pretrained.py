"""Puts the weights of a file into a network."""

import logging
import re

import numpy as np
from mindspore import Tensor, load_checkpoint

from cellwright.nets.torch_file import read_torch_file
from cellwright.nets.torch_names import fold_vgg_biases, from_torch, is_torch_dict

_log = logging.getLogger("nets")

# What a training checkpoint of the zoo holds beside the network.
_NOT_WEIGHTS = re.compile(
    r"(moments|stat|accum)\..*|learning_rate|momentum|weight_decay|global_step|epoch_num|step_num"
    r"|current_iterator_step|last_overflow_iterator_step|scale_sense|loss_scale"
)


def load_pretrained(network, path, *, whole=False, head=None):
    """Puts the weights of the file `path` into `network`; returns lines that say what was left out.

    network: one made by `create_network`, or any cell whose parameters have the names of the file's. head: how the
    names of its head's parameters begin, where it is none of ours.

    Reads the zoo's and MindCV's checkpoints (.ckpt, trained or training), .safetensors, and PyTorch's files of
    torchvision's and timm's densenet121, vgg16, vgg16_bn and resnet50 (the last into genet without `extra`
    and `mlp`); for other networks what `launch.export` writes for PyTorch. Nothing in a file is ever executed. A
    head for another number of classes stays as it was drawn, or with `whole` is an error. ValueError lists any
    other name that is missing, unknown, or of another shape; the network is then unchanged.
    """
    arrays, name = _weights_alone(_read(path)), getattr(network, "network_name", type(network).__name__)
    head = head or getattr(network, "head_prefix", None)
    if is_torch_dict(arrays):
        arrays = from_torch(arrays, name)
    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    if name == "vgg16" and "layers.0.bias" not in parameters:
        fold_vgg_biases(arrays)
    lines = _leave_out_other_head(arrays, parameters, head, path) if head and not whole else ()
    left_out = {parameter for parameter in parameters if lines and parameter.startswith(head)}
    _check(
        arrays,
        {parameter: p.shape for parameter, p in parameters.items() if parameter not in left_out},
        name,
        path,
    )
    for name, value in arrays.items():
        parameters[name].set_data(Tensor(np.ascontiguousarray(value, dtype=np.float32)))
    return lines


def _read(path):
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    if start[:4] == b"PK\x03\x04" or start[:1] == b"\x80":
        return read_torch_file(path)
    if start[8:9] == b"{":
        return _read_safetensors(path)
    try:
        # The framework's own reader: a table of names and bytes (protobuf), nothing that runs.
        return {name: p.asnumpy() for name, p in load_checkpoint(str(path)).items()}
    except (ValueError, RuntimeError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a checkpoint (.ckpt), .safetensors or PyTorch file: {reason}") from error


def _read_safetensors(path):
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a safetensors file that can be read: {error}") from error


def _weights_alone(arrays):
    return {name.removeprefix("network."): value for name, value in arrays.items() if not _NOT_WEIGHTS.fullmatch(name)}


def _leave_out_other_head(arrays, parameters, prefix, path):
    """Takes a head that differs in its classes alone out of `arrays`; returns the line that says so."""
    head = [name for name in parameters if name.startswith(prefix)]
    if any(name not in arrays or arrays[name].shape[1:] != tuple(parameters[name].shape[1:]) for name in head):
        return ()
    found, wanted = len(arrays[head[0]]), len(parameters[head[0]])
    if found == wanted:
        return ()
    for name in head:
        del arrays[name]
    line = f"{path}: head of {found} classes left out, this network has {wanted}: {', '.join(head)}"
    _log.warning(line)
    return (line,)


def _check(arrays, shapes, network_name, path):
    missing = [name for name in shapes if name not in arrays]
    extra = [name for name in arrays if name not in shapes]
    unlike = [
        f"{name} {tuple(arrays[name].shape)} for {tuple(shape)}"
        for name, shape in shapes.items()
        if name in arrays and arrays[name].shape != tuple(shape)
    ]
    wrong = [
        f"{what}: {_listed(names)}"
        for what, names in (("missing", missing), ("not in the network", extra), ("other shape", unlike))
        if names
    ]
    if wrong:
        other = _network_of(arrays) if missing else None
        if other not in (None, network_name):
            raise ValueError(f"{path}: the weights of a {other}, and this network is {network_name}")
        raise ValueError(f"{path}: not the weights of this {network_name}: {'; '.join(wrong)}")


def _network_of(arrays):
    """The network most of whose parameters have the names of these arrays, or None."""
    from cellwright.nets.registry import create_network, network_names

    for name in network_names():
        settings = {"hidden": 8} if name == "vgg16" else {}  # its classifier would take a second to draw
        known = {parameter.name for parameter in create_network(name, 10, 64, **settings).get_parameters()}
        if 2 * len(known & arrays.keys()) > len(arrays):
            return name
    return None


def _listed(names, most=4):
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
