"""Reads a cell's `construct` into a list of layers, by calling it once with a symbol in place of the tensor."""

import contextlib
import dataclasses

import mindspore
from mindspore import nn

# A dense layer becomes a convolution whose weights are copied into oneDNN's layout each step; above this size
# (numbers) the framework's matrix product, which reads them as they are, is faster.
_LARGEST_DENSE = 8 << 20


class Untraceable(Exception):
    """Raised where a cell does something that the programs cannot run; the cell then stays as it is."""


@dataclasses.dataclass(eq=False)
class Layer:
    """One operation: its kind, the layers whose results it takes, its numbers, and its parameters by their role."""

    kind: str
    inputs: tuple = ()
    numbers: dict = dataclasses.field(default_factory=dict)
    parameters: dict = dataclasses.field(default_factory=dict)
    name: str = ""  # of the cell that it is part of


class Symbol:
    """Stands for a tensor while `construct` is read."""

    def __init__(self, trace, layer):
        self.trace, self.layer = trace, layer

    def __add__(self, other):
        return self.trace.add("add", self, other)

    def __mul__(self, other):
        return self.trace.add("multiply", self, other)

    def __bool__(self):
        raise Untraceable("the value of a tensor decides what happens")

    def __getattr__(self, name):
        raise Untraceable(f"Tensor.{name} is not one of the operations that programs have")

    def __iter__(self):
        raise Untraceable("a tensor is iterated over")


class Trace:
    """The layers of a network in the order in which they run; `layers[0]` is its input, `output` its result."""

    def __init__(self):
        self.layers = [Layer("input")]
        self.output = None
        self.place = ""  # name of the cell that is being read

    def add(self, kind, *inputs, numbers=None, parameters=None):
        """Returns the symbol of a new layer."""
        for symbol in inputs:
            if not isinstance(symbol, Symbol):
                raise Untraceable(f"{kind} with {type(symbol).__name__}")
        for parameter in (parameters or {}).values():
            if parameter.dtype != mindspore.float32:
                raise Untraceable(f"parameter {parameter.name} is {parameter.dtype}")
        layer = Layer(kind, tuple(symbol.layer for symbol in inputs), numbers or {}, parameters or {}, self.place)
        self.layers.append(layer)
        return Symbol(self, layer)

    def parameters(self, roles):
        """Returns the parameters of these roles, in the order of the layers."""
        found = [layer.parameters[role] for layer in self.layers for role in roles if role in layer.parameters]
        if len({id(parameter) for parameter in found}) != len(found):
            raise Untraceable("two layers share a parameter")
        return found

    def signature(self):
        """Returns what tells this trace from others as a string: names (a profile tells them), connections, numbers, shapes."""
        position = {id(layer): k for k, layer in enumerate(self.layers)}
        return ";".join(
            f"{layer.kind} {layer.name}{[position[id(source)] for source in layer.inputs]}{sorted(layer.numbers.items())}"
            f"{[(role, parameter.shape) for role, parameter in sorted(layer.parameters.items())]}"
            for layer in self.layers
        )


def _pair(value):
    """A setting that is a number or a tuple of equal numbers, as one number."""
    values = set(value[-2:] if isinstance(value, tuple) else (value,))
    if len(values) != 1:
        raise Untraceable(f"height and width differ: {value}")
    return values.pop()


def _conv(trace, cell, x):
    if cell.group != 1 or _pair(cell.dilation) != 1 or cell.data_format != "NCHW":
        raise Untraceable("grouped or dilated convolution")
    padding = cell.padding if isinstance(cell.padding, tuple) else (cell.padding,) * 4
    numbers = {
        "kernel": _pair(cell.kernel_size),
        "stride": _pair(cell.stride),
        "pad_mode": cell.pad_mode,
        "padding": tuple(padding),
        "channels": cell.out_channels,
    }
    parameters = {"weight": cell.weight, **({"bias": cell.bias} if cell.has_bias else {})}
    return trace.add("conv", x, numbers=numbers, parameters=parameters)


def _norm(trace, cell, x):
    if cell.use_batch_statistics is not None:
        raise Untraceable("use_batch_statistics is set")
    parameters = {role: getattr(cell, role) for role in ("gamma", "beta", "moving_mean", "moving_variance")}
    return trace.add("norm", x, numbers={"eps": cell.eps, "momentum": 1 - cell.momentum}, parameters=parameters)


def _pool(kind):
    def pool(trace, cell, x):
        numbers = {"kernel": _pair(cell.kernel_size), "stride": _pair(cell.stride), "pad_mode": cell.pad_mode.lower()}
        if numbers["pad_mode"] not in ("valid", "same") or (kind == "avg_pool" and numbers["pad_mode"] != "valid"):
            raise Untraceable(f"{kind} with pad_mode {cell.pad_mode}")
        if getattr(cell, "use_pad", False) or getattr(cell, "return_indices", False):
            raise Untraceable(f"{kind} with padding or indices")
        return trace.add(kind, x, numbers={**numbers, "padding": (0, 0, 0, 0)})

    return pool


def _padded_max_pool(trace, cell, x):
    numbers = {"kernel": _pair(cell.pool.kernel_size), "stride": _pair(cell.pool.stride)}
    return trace.add("max_pool", x, numbers={**numbers, "pad_mode": "pad", "padding": (1, 1, 1, 1)})


def _mean(trace, cell, x):
    return trace.add("gather", x, numbers={"flat": not cell.mean.keep_dims})


def _gather(trace, cell, x):
    return trace.add("gather", x, numbers={"flat": False}, parameters={"weight": cell.weight})


def _dense(trace, cell, x):
    if cell.activation_flag or not x.layer.numbers.get("flat") or cell.weight.size > _LARGEST_DENSE:
        raise Untraceable("a dense layer that is large, or not behind a mean")
    numbers = {"kernel": 1, "stride": 1, "pad_mode": "valid", "padding": (0,) * 4, "channels": cell.out_channels}
    numbers["flat"] = True
    parameters = {"weight": cell.weight, **({"bias": cell.bias} if cell.has_bias else {})}
    return trace.add("conv", x, numbers=numbers, parameters=parameters)


def _slope(slope):
    return lambda trace, cell, x: trace.add("act", x, numbers={"slope": slope(cell)})


def _dropout(trace, cell, x):
    if cell.p != 0:
        raise Untraceable("dropout")
    return x


# By class name: the networks' own cells among them are the ones whose `construct` is not made of layers.
_LEAVES = {
    "Conv2d": _conv,
    "BatchNorm2d": _norm,
    "MaxPool2d": _pool("max_pool"),
    "AvgPool2d": _pool("avg_pool"),
    "PaddedMaxPool": _padded_max_pool,
    "GlobalMean": _mean,
    "GlobalGather": _gather,
    "Dense": _dense,
    "ReLU": _slope(lambda cell: 0.0),
    "LeakyReLU": _slope(lambda cell: float(cell.alpha)),
    "Sigmoid": lambda trace, cell, x: trace.add("sigmoid", x),
    "Dropout": _dropout,
    "Identity": lambda trace, cell, x: x,
}


@contextlib.contextmanager
def _reading(trace, names):
    """Cells and concatenations that are called inside add layers to the trace instead of being run; names: id of a cell -> name."""
    call, concat, cat = nn.Cell.__call__, mindspore.ops.concat, mindspore.ops.cat

    def read_cell(cell, *inputs):
        outside, trace.place = trace.place, names.get(id(cell), trace.place)
        try:
            return read_named(cell, *inputs)
        finally:
            trace.place = outside

    def read_named(cell, *inputs):
        leaf = _LEAVES.get(type(cell).__name__)
        if getattr(cell, "_recompute_cell", None) is not None:
            raise Untraceable(f"{type(cell).__name__} is to be recomputed")
        if leaf and len(inputs) == 1 and isinstance(inputs[0], Symbol):
            return leaf(trace, cell, inputs[0])
        if (
            leaf
            or hasattr(cell, "bprop")
            or type(cell).__module__.startswith("mindspore.nn.layer.")
            and not isinstance(cell, nn.SequentialCell)
        ):
            raise Untraceable(f"{type(cell).__name__} is not one of the layers that programs have")
        return cell.construct(*inputs)

    def read_concat(tensors, axis=0):
        if axis != 1:
            raise Untraceable(f"concatenation along axis {axis}")
        return trace.add("concat", *tensors)

    nn.Cell.__call__, mindspore.ops.concat, mindspore.ops.cat = read_cell, read_concat, read_concat
    try:
        yield read_cell
    finally:
        nn.Cell.__call__, mindspore.ops.concat, mindspore.ops.cat = call, concat, cat


def read(cell, name=""):
    """Returns the Trace of a cell that takes one tensor and returns one; raises Untraceable where it cannot.

    name: of the cell within its network; it begins the names of the layers.
    """
    trace = Trace()
    names = {id(inner): ".".join(filter(None, (name, path))) for path, inner in cell.cells_and_names()}
    with _reading(trace, names) as read_cell:
        try:
            result = read_cell(cell, Symbol(trace, trace.layers[0]))
        except Untraceable:
            raise
        except Exception as error:  # whatever a construct does with something that is not a tensor
            raise Untraceable(f"{type(error).__name__}: {error}") from error
    if not isinstance(result, Symbol) or len(trace.layers) == 1:
        raise Untraceable("it does not return one tensor")
    trace.output = result.layer
    return trace
