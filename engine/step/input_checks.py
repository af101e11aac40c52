"""What can be wrong with what a step is given: each in one line that names it, before the first step."""

import contextlib
import inspect
import math
import re

import numpy as np
from mindspore import Tensor, nn

from cellwright.engine.step.nested_batch import as_tensor, describe, map_leaves


def check_form(network, loss, optimizer, forward, normalise, accumulate):
    """Raises ValueError unless the arguments of a TrainOneStep make one of its two forms."""
    if accumulate < 1:
        raise ValueError(f"accumulate = {accumulate}: must be >= 1 micro-batch")
    if optimizer is None:
        raise ValueError("optimizer: there is none")
    if forward is None and (network is None or loss is None):
        raise ValueError("TrainOneStep takes a network and its loss, or forward=function")
    if forward is not None and (loss is not None or normalise is not None):
        raise ValueError("forward: loss and normalise belong into the function")


def check_parameters(network, params):
    """Raises ValueError for a parameter of the optimizer that is none of the network's, or that is there twice."""
    own = {id(p) for p in network.get_parameters()}
    for parameter in params:
        if id(parameter) not in own:
            raise ValueError(
                f"optimizer: {parameter.name} is no parameter of this network; was it made for another one?"
            )
    names: dict = {}
    for parameter in network.get_parameters():
        if names.setdefault(parameter.name, parameter) is not parameter:
            raise ValueError(
                f"network: two parameters are called {parameter.name}; give one of the cells a prefix "
                "(cell.update_parameters_name('name.'))"
            )


def check_lr(lr, optimizer):
    """Returns the learning rate of a step, a float; ValueError for what is no number, or where there must be none."""
    if lr is None:
        if optimizer.needs_lr:
            raise ValueError("lr: this optimizer has no learning rate of its own; give the step one, lr=0.1")
        return optimizer.rate() or 0.0
    if optimizer.has_schedule:
        raise ValueError(f"lr = {lr}: this optimizer has a schedule or groups with rates of their own; leave lr out")
    if np.ndim(lr.asnumpy() if isinstance(lr, Tensor) else lr) != 0:
        raise ValueError(f"lr = {lr}: must be one number a step; a schedule is given to the Trainer, or step by step")
    number = float(lr)
    if not math.isfinite(number):
        raise ValueError(f"lr = {lr}: must be finite")
    return number


def check_labels(labels, weights, loss):
    """Raises ValueError for integer labels, a numpy array, that are no class of the loss; padding (weight 0) may
    hold any.
    """
    classes = getattr(loss, "num_classes", None)
    if classes is None or isinstance(labels, Tensor):
        return
    if labels.dtype.kind == "f":
        if labels.ndim != 2 or labels.shape[1] != classes:
            raise ValueError(
                f"labels: {labels.dtype}{list(labels.shape)}; as shares of classes they must be (N, {classes})"
            )
        return
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        counted = labels if isinstance(weights, Tensor) else labels[np.asarray(weights) > 0]
        wrong = counted[(counted < 0) | (counted >= classes)]
        if wrong.size:
            raise ValueError(f"label {wrong[0]}: must be from 0 to {classes - 1} ({classes} classes)")


@contextlib.contextmanager
def in_one_line(batch, names):
    """Context manager round a call that compiles: what MindSpore says on several pages comes as one line.

    The whole of it stays as the cause of the exception.
    """
    try:
        yield
    except (ValueError, TypeError, RuntimeError, AttributeError) as error:
        text = str(error)
        if "C++ Call Stack" not in text and "Traceback of Net Construct Code" not in text:
            raise
        first = next((line.strip(" '\"") for line in text.splitlines() if line.strip(" '\"-")), "")
        given = ", ".join(
            f"{name} {dtype}{list(shape)}" for name, shape, dtype in describe(map_leaves(as_tensor, batch), names)
        )
        raise ValueError(f"{first}{_place(text)} (batch: {given})") from error


def _place(text):
    """The innermost line of the user's code that MindSpore's message shows, as " at FILE:LINE: code"."""
    found = re.findall(r"# \d+ In file (\S+?):(\d+)[^\n]*\n\s*([^\n]+)", text)
    mine = [entry for entry in found if "/mindspore/" not in entry[0] and "/engine/step/" not in entry[0]]
    if not mine:
        return ""
    path, line, code = mine[-1]
    return f" at {path}:{line}: {code.strip()}"


def unread_parameters(network, params):
    """Returns the names of parameters whose cell never mentions them: a guess, from the source of the cells alone."""
    wanted = {id(p): p.name for p in params}
    unread = {}
    for _, cell in network.cells_and_names():
        parts = [(name, [p]) for name, p in cell._params.items() if p is not None]
        parts += [(name, list(child.get_parameters())) for name, child in cell.name_cells().items()]
        if not parts or type(cell).__module__.startswith(("mindspore.", "cellwright.kernels.")):
            continue
        source = _source_of(type(cell))
        read = {id(p) for name, held in parts if _mentions(source, name) for p in held}
        everything = {id(p) for _, held in parts for p in held}
        unread |= {key: wanted[key] for key in everything - read if key in wanted}
    return list(unread.values())


def _source_of(kind):
    """The source of all methods of a class but __init__, or None where it cannot be read."""
    texts = []
    for base in kind.__mro__:
        if base is nn.Cell:
            break
        for name, method in vars(base).items():
            if name != "__init__" and inspect.isfunction(method):
                try:
                    texts.append(inspect.getsource(method))
                except (OSError, TypeError):
                    return None
    return "\n".join(texts)


def _mentions(source, name):
    return source is None or "getattr" in source or "cells()" in source or re.search(rf"\b{re.escape(name)}\b", source)
