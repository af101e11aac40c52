"""Reads a cell's `construct` into a list of layers, by calling it once with symbols in place of the tensors."""

import contextlib
import inspect

import mindspore
from mindspore import Parameter, nn

from cellwright.kernels.compiler import layers
from cellwright.kernels.compiler.errors import UntraceableEnds
from cellwright.kernels.compiler.extent import Extent
from cellwright.kernels.compiler.rearranged import channels_last, transposed
from cellwright.kernels.compiler.symbols import ParameterSymbol, Symbol, Trace, Untraceable
from cellwright.kernels.csrc.operations import MOST_INPUTS

# What a class may have that computes what its base does.
_BLAND = {"__init__", "__module__", "__doc__", "__annotations__", "__static_attributes__", "__firstlineno__"}
_MODULES = (mindspore.ops, mindspore.mint, mindspore.mint.nn.functional)


def _symbols_in(inputs):
    return any(
        isinstance(value, (Symbol, ParameterSymbol, Extent)) or isinstance(value, (tuple, list)) and _symbols_in(value)
        for value in inputs
    )


def qualified(cls):
    """Returns module and name of a class in one string."""
    return f"{cls.__module__}.{cls.__qualname__}"


def known_class(kind):
    """Returns the class that says what a cell computes: its own, or one that it inherits all but `__init__` from."""
    while len(kind.__bases__) == 1 and not set(vars(kind)) - _BLAND and issubclass(kind.__base__, nn.Cell):
        kind = kind.__base__
    return kind


def stock_class(cell):
    """Returns the class of a cell, also if programs run it."""
    return getattr(type(cell), "stock_class", type(cell))


class _Reader:
    """Called in place of cells, functions and operators while a network is read."""

    def __init__(self, trace, names):
        self.trace, self.names = trace, names  # id of a cell -> name
        self._in_layer = False

    def cell(self, cell, *inputs, **settings):
        outside, self.trace.place = self.trace.place, self.names.get(id(cell), self.trace.place)
        try:
            return self._cell(cell, inputs, settings)
        finally:
            self.trace.place = outside

    def _cell(self, cell, inputs, settings):
        kind = stock_class(cell)
        _check_plain(cell)
        kind = known_class(kind)
        read = layers.CELLS.get(kind) or layers.NAMED_CELLS.get(qualified(kind))
        if read and len(inputs) == 1 and not settings and isinstance(inputs[0], Symbol):
            self._in_layer = True
            try:
                plain = channels_last(inputs[0]) if kind in layers.CHANNELS_LAST else None
                if plain is None:
                    return read(self.trace, cell, inputs[0])
                return transposed(layers.CHANNELS_LAST[kind](self.trace, cell, plain), (0, 2, 3, 1))
            finally:
                self._in_layer = False
        if read or kind.__module__.startswith("mindspore.") and kind is not nn.SequentialCell:
            raise Untraceable(f"{kind.__name__} is not one of the layers that programs have")
        return kind.construct(cell, *inputs, **settings)

    def attribute(self, original):
        """Returns what stands in place of a cell's `__getattr__`."""

        def get(cell, name):
            found = original(cell, name)
            if isinstance(found, Parameter) and not self._in_layer:
                # The framework's own operators would take it as a constant, and compute with it at once.
                return ParameterSymbol(self.trace, found)
            return found

        return get

    def function(self, name, original):
        """Returns what stands in place of a function of the framework."""

        def call(*inputs, **settings):
            if not _symbols_in(inputs) and not _symbols_in(settings.values()):
                return original(*inputs, **settings)
            return self.trace.operator(name, *inputs, **settings)

        return call

    def primitive(self, read, original):
        """Returns what stands in place of the call of an operator's class."""

        def call(primitive, *inputs, **settings):
            if not _symbols_in(inputs) and not _symbols_in(settings.values()):
                return original(primitive, *inputs, **settings)
            return read(self.trace, primitive, *inputs, **settings)

        return call


def _check_plain(cell):
    """Raises Untraceable if more happens at a call of the cell than its `construct`."""
    name = stock_class(cell).__name__
    if getattr(cell, "_recompute_cell", None) is not None:
        raise Untraceable(f"{name} is to be recomputed")
    if "construct" in cell.__dict__:
        raise Untraceable(f"{name} has a construct of its own")
    if hasattr(cell, "bprop"):
        raise Untraceable(f"{name} has a bprop of its own")
    hooks = ("_forward_hook", "_forward_pre_hook", "_backward_hook", "_backward_pre_hook")
    if any(getattr(cell, hook, None) for hook in hooks):
        raise Untraceable(f"{name} has hooks")
    if any(cell.get_flags().get(half) for half in ("fp16", "bf16")):
        raise Untraceable(f"{name} computes in half precision")


@contextlib.contextmanager
def _reading(reader):
    """Cells, functions and operators that are called inside add layers to the trace instead of being run."""
    undo = []

    def put(owner, name, made):
        undo.append((owner, name, owner.__dict__.get(name)))
        setattr(owner, name, made)

    put(nn.Cell, "__getattr__", reader.attribute(nn.Cell.__getattr__))
    put(nn.Cell, "__call__", lambda cell, *inputs, **settings: reader.cell(cell, *inputs, **settings))
    for module in _MODULES:
        for name in layers.FUNCTIONS:
            if hasattr(module, name):
                put(module, name, reader.function(name, getattr(module, name)))
    for kind, read in layers.PRIMITIVES.items():
        put(kind, "__call__", reader.primitive(read, kind.__call__))
    try:
        yield
    finally:
        for owner, name, before in reversed(undo):
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


def arguments(cell):
    """Returns how many arguments the `construct` of a cell needs, which are read as tensors, and how many it can have:
    those with defaults are left to these.
    """
    _, *known = inspect.signature(stock_class(cell).construct).parameters.values()  # the first one is the cell
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in known if one.default is one.empty and one.kind in plain]
    return max(1, len(needed)), len(known) + any(one.kind not in plain for one in known)


def read(cell, name=""):
    """Returns the Trace of a cell; raises Untraceable where it cannot.

    name: of the cell within its network; it begins the names of the layers.
    """
    count, _ = arguments(cell)
    if count > MOST_INPUTS:
        raise UntraceableEnds(f"it takes {count} tensors: at most {MOST_INPUTS}")
    trace = Trace(layers.INPUT, layers.FUNCTIONS, cell.training, count)
    names = {id(inner): ".".join(filter(None, (name, path))) for path, inner in cell.cells_and_names()}
    reader = _Reader(trace, names)
    with _reading(reader):
        try:
            result = reader.cell(cell, *(Symbol(trace, layer) for layer in trace.inputs))
        except Untraceable:
            raise
        except Exception as error:  # whatever a construct does with something that is not a tensor
            raise Untraceable(f"{type(error).__name__}: {error}") from error
    trace.end(result)
    return trace
