"""What a network is read into: layers, and the symbols that stand for their results."""

import dataclasses

import mindspore

from cellwright.kernels.compiler.errors import Untraceable, UntraceableEnds
from cellwright.kernels.compiler.extent import Extent

__all__ = ["Layer", "ParameterSymbol", "Symbol", "Trace", "Untraceable"]


@dataclasses.dataclass(eq=False)
class Layer:
    """One operation: its kind, the layers whose results it takes, its numbers, and its parameters by their role."""

    kind: object  # see layers
    inputs: tuple = ()
    numbers: dict = dataclasses.field(default_factory=dict)
    parameters: dict = dataclasses.field(default_factory=dict)
    name: str = ""  # of the cell that it is part of
    # Of the result: channels, if they are known; whether it is (N, C); the axes that its height and width are.
    channels: int = None
    flat: bool = False
    size: tuple = ()


class Symbol:
    """Stands for a tensor while `construct` is read."""

    def __init__(self, trace, layer):
        self.trace, self.layer = trace, layer

    @property
    def shape(self):
        channels = self.layer.channels
        if channels is None:
            channels = Extent(1, ("channels",))
        size = () if self.layer.flat else tuple(Extent(1, (axis,)) for axis in self.layer.size)
        return Extent(1, ("images",)), channels, *size

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def dtype(self):
        return mindspore.float32

    def __getitem__(self, place):
        if isinstance(place, int):
            self._be_no_list()
        return self.trace.operator("getitem", self, place)

    def _be_no_list(self):
        if self.layer in self.trace.inputs:
            raise UntraceableEnds("it takes its argument apart, as a list of tensors, which programs do not read")

    def __add__(self, other):
        return self.trace.operator("add", self, other)

    def __radd__(self, other):
        return self.trace.operator("add", other, self)

    def __mul__(self, other):
        return self.trace.operator("mul", self, other)

    def __rmul__(self, other):
        return self.trace.operator("mul", other, self)

    def __sub__(self, other):
        return self.trace.operator("sub", self, other)

    def __rsub__(self, other):
        return self.trace.operator("sub", other, self)

    def __truediv__(self, other):
        return self.trace.operator("div", self, other)

    def __neg__(self):
        return self.trace.operator("mul", self, -1.0)

    def __bool__(self):
        raise Untraceable("the value of a tensor decides what happens")

    def __getattr__(self, name):
        if name in self.trace.operators:
            return lambda *inputs, **settings: self.trace.operator(name, self, *inputs, **settings)
        raise Untraceable(f"Tensor.{name} is not one of the operations that programs have")

    def __iter__(self):
        self._be_no_list()
        raise Untraceable("a tensor is iterated over")

    # Compared as tensors, two symbols would be a tensor; hashable, as what is defined with __eq__ would not be.
    __hash__ = object.__hash__

    def __eq__(self, other):
        raise Untraceable("a tensor is compared")


class ParameterSymbol:
    """Stands for a parameter that a `construct` reads itself; shape: with the axes that it was given since."""

    def __init__(self, trace, parameter, shape=None):
        self.trace, self.parameter = trace, parameter
        self.shape = tuple(parameter.shape) if shape is None else tuple(shape)

    def reshape(self, *sizes):
        sizes = sizes[0] if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else sizes
        kept = [size for size in sizes if size != 1]
        if kept not in ([size for size in self.shape if size != 1], [-1]):
            raise Untraceable(f"{self.parameter.name} of {self.shape} is reshaped to {sizes}")
        numbers = max(self.parameter.size, 1)
        return ParameterSymbol(self.trace, self.parameter, [numbers if size == -1 else size for size in sizes])

    def expand_dims(self, axis):
        place = axis % (len(self.shape) + 1)
        return ParameterSymbol(self.trace, self.parameter, [*self.shape[:place], 1, *self.shape[place:]])

    view, unsqueeze = reshape, expand_dims

    def __mul__(self, other):
        return self.trace.operator("mul", self, other)

    __rmul__ = __mul__

    def __bool__(self):
        raise Untraceable("the value of a parameter decides what happens")

    __hash__ = object.__hash__

    def __eq__(self, other):
        raise Untraceable("a parameter is compared")


class Trace:
    """The layers of a network in the order in which they run; `inputs` and `outputs` are some of them.

    given: how many arguments its `construct` has. takes: those that are the inputs. gives: what it returns, the number
    of a tensor or a tuple or list of such, counting its arguments and then the outputs. operators: what reads an
    operator, function or method of a tensor, by name. training: the mode of the cell that is read.
    """

    def __init__(self, input_kind, operators, training, given=1):
        names = ("", *(f" of input {number}" for number in range(1, given)))
        self.inputs = [Layer(input_kind, size=(f"height{name}", f"width{name}")) for name in names]
        self.layers, self.outputs = list(self.inputs), []
        self.given, self.takes, self.gives = given, None, None
        self.operators, self.training = operators, training
        self.place = ""  # name of the cell that is being read

    def operator(self, name, *inputs, **settings):
        """Returns what an operator gives for symbols and constants."""
        return self.operators[name](self, *inputs, **settings)

    def add(self, kind, *inputs, numbers=None, parameters=None):
        """Returns the symbol of a new layer."""
        for symbol in inputs:
            if not isinstance(symbol, Symbol) or symbol.layer is None:
                raise Untraceable(f"{kind.name} with {type(symbol).__name__}")
        for role, parameter in (parameters or {}).items():
            if parameter.dtype != (mindspore.int32 if role == "draws" else mindspore.float32):
                raise Untraceable(f"parameter {parameter.name} is {parameter.dtype}")
        layer = Layer(kind, tuple(symbol.layer for symbol in inputs), numbers or {}, parameters or {}, self.place)
        layer.channels, layer.flat = kind.channels(layer), kind.flat(layer)
        number = len(self.layers)
        layer.size = layer.inputs[0].size if kind.same_size else (f"height {number}", f"width {number}")
        self.layers.append(layer)
        return Symbol(self, layer)

    def end(self, result):
        """To be called with what `construct` returned."""
        arguments = self.inputs

        def number(one):
            if not isinstance(one, Symbol) or one.layer is None:
                what = "a tensor of other axes or dtype" if isinstance(one, Symbol) else type(one).__name__
                raise UntraceableEnds(
                    f"it returns {what}, where programs give tensors of float32 whose axes are those of an image or"
                    " (N, C), alone or in one tuple or list"
                )
            if one.layer not in [*arguments, *self.outputs]:
                self.outputs.append(one.layer)
            return [*arguments, *self.outputs].index(one.layer)

        several = type(result) in (tuple, list)
        self.gives = type(result)(map(number, result)) if several else number(result)
        if not self.outputs:
            raise Untraceable("it computes nothing")
        self.drop_unused()
        self.takes = tuple(k for k, layer in enumerate(arguments) if layer in self.inputs)

    def drop_unused(self):
        """Forgets the layers that no output depends on; raises Untraceable if one of them does something else, too."""
        used = set(self.outputs)
        for layer in reversed(self.layers):
            if layer in used:
                used.update(layer.inputs)
            elif layer.kind.changes_parameters(layer):
                raise Untraceable(f"the result of {layer.name or layer.kind.name} is not used")
        self.layers = [layer for layer in self.layers if layer in used]
        self.inputs = [layer for layer in self.inputs if layer in used]

    def readers(self, layer):
        """Returns the layers that take this one's result, once for each use; being an output counts as None."""
        found = [reader for reader in self.layers for source in reader.inputs if source is layer]
        return found + [None] * (layer in self.outputs)

    def parameters(self, roles):
        """Returns the parameters of these roles, in the order of the layers."""
        found = [layer.parameters[role] for layer in self.layers for role in roles if role in layer.parameters]
        if len({id(parameter) for parameter in found}) != len(found):
            raise Untraceable("two layers share a parameter")
        return found

    def draws(self):
        """Returns the parameters by which dropouts draw, each once."""
        found = [layer.parameters["draws"] for layer in self.layers if "draws" in layer.parameters]
        return list({id(parameter): parameter for parameter in found}.values())

    def signature(self):
        """Returns what tells this trace from others as a string: names (a profile tells them), connections, numbers,
        shapes.
        """
        position, axes = {id(layer): k for k, layer in enumerate(self.layers)}, {}
        for k, layer in enumerate(self.layers):
            for axis in layer.size:
                axes.setdefault(axis, f"{axis.split()[0]} of {k}")

        def told(value):
            if isinstance(value, tuple):
                return tuple(map(told, value))
            return (value.factor, [axes.get(axis) for axis in value.axes]) if isinstance(value, Extent) else value

        def of(layer):
            sources = [position[id(source)] for source in layer.inputs]
            parameters = [(role, p.shape, p.requires_grad) for role, p in sorted(layer.parameters.items())]
            return f"{layer.kind.name} {layer.name}{sources}{told(tuple(sorted(layer.numbers.items())))}{parameters}"

        return ";".join([*map(of, self.layers), f"outputs {[position[id(layer)] for layer in self.outputs]}"])
