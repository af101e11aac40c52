"""What a network is read into: layers, and the symbols that stand for their results."""

import dataclasses

import mindspore


class Untraceable(Exception):
    """Raised where a cell does something that the programs cannot run; the cell then stays as it is."""


@dataclasses.dataclass(eq=False)
class Layer:
    """One operation: its kind, the layers whose results it takes, its numbers, and its parameters by their role."""

    kind: object  # see layers
    inputs: tuple = ()
    numbers: dict = dataclasses.field(default_factory=dict)
    parameters: dict = dataclasses.field(default_factory=dict)
    name: str = ""  # of the cell that it is part of


class Symbol:
    """Stands for a tensor while `construct` is read."""

    def __init__(self, trace, layer):
        self.trace, self.layer = trace, layer

    def __add__(self, other):
        return self.trace.operator("add", self, other)

    def __radd__(self, other):
        return self.trace.operator("add", other, self)

    def __mul__(self, other):
        return self.trace.operator("mul", self, other)

    def __rmul__(self, other):
        return self.trace.operator("mul", other, self)

    def __bool__(self):
        raise Untraceable("the value of a tensor decides what happens")

    def __getattr__(self, name):
        if name in self.trace.operators:
            return lambda *inputs, **settings: self.trace.operator(name, self, *inputs, **settings)
        raise Untraceable(f"Tensor.{name} is not one of the operations that programs have")

    def __iter__(self):
        raise Untraceable("a tensor is iterated over")

    # Compared as tensors, two symbols would be a tensor; hashable, as what is defined with __eq__ would not be.
    __hash__ = object.__hash__

    def __eq__(self, other):
        raise Untraceable("a tensor is compared")


class Trace:
    """The layers of a network in the order in which they run; `layers[0]` is its input, `output` its result.

    operators: what reads an operator, function or method of a tensor, by name. training: the mode of the cell that
    is read.
    """

    def __init__(self, input_kind, operators, training):
        self.layers = [Layer(input_kind)]
        self.operators, self.training = operators, training
        self.output = None
        self.place = ""  # name of the cell that is being read

    def operator(self, name, *inputs, **settings):
        """Returns what an operator gives for symbols and constants."""
        return self.operators[name](self, *inputs, **settings)

    def add(self, kind, *inputs, numbers=None, parameters=None):
        """Returns the symbol of a new layer."""
        for symbol in inputs:
            if not isinstance(symbol, Symbol):
                raise Untraceable(f"{kind.name} with {type(symbol).__name__}")
        for parameter in (parameters or {}).values():
            if parameter.dtype != mindspore.float32:
                raise Untraceable(f"parameter {parameter.name} is {parameter.dtype}")
        layer = Layer(kind, tuple(symbol.layer for symbol in inputs), numbers or {}, parameters or {}, self.place)
        self.layers.append(layer)
        return Symbol(self, layer)

    def drop_unused(self):
        """Forgets the layers that the result does not depend on; raises Untraceable if one of them does something
        else, too.
        """
        used = {self.layers[0], self.output}
        for layer in reversed(self.layers):
            if layer in used:
                used.update(layer.inputs)
            elif layer.kind.changes_parameters(layer):
                raise Untraceable(f"the result of {layer.name or layer.kind.name} is not used")
        self.layers = [layer for layer in self.layers if layer in used]

    def readers(self, layer):
        """Returns the layers that take this one's result, once for each use; the network's result counts as None."""
        found = [reader for reader in self.layers for source in reader.inputs if source is layer]
        return found + [None] * (layer is self.output)

    def parameters(self, roles):
        """Returns the parameters of these roles, in the order of the layers."""
        found = [layer.parameters[role] for layer in self.layers for role in roles if role in layer.parameters]
        if len({id(parameter) for parameter in found}) != len(found):
            raise Untraceable("two layers share a parameter")
        return found

    def signature(self):
        """Returns what tells this trace from others as a string: names (a profile tells them), connections, numbers,
        shapes.
        """
        position = {id(layer): k for k, layer in enumerate(self.layers)}

        def of(layer):
            sources = [position[id(source)] for source in layer.inputs]
            parameters = [(role, p.shape, p.requires_grad) for role, p in sorted(layer.parameters.items())]
            return f"{layer.kind.name} {layer.name}{sources}{sorted(layer.numbers.items())}{parameters}"

        return ";".join(map(of, self.layers))
