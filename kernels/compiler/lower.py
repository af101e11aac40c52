"""Turns a trace into tensors for one input shape: what is stored, what is only a view of it, what is a part of what."""

import dataclasses

from cellwright.kernels.compiler.trace import Untraceable


@dataclasses.dataclass(eq=False)
class Stored:
    """A tensor that is written to memory: (N, channels, height, width) in blocks of channels."""

    kind: str
    channels: int
    height: int
    width: int
    sources: tuple = ()
    numbers: dict = dataclasses.field(default_factory=dict)
    parameters: dict = dataclasses.field(default_factory=dict)
    whole: "Stored" = None  # the concatenation that this is a part of
    offset: int = 0  # its first channel there
    parts: tuple = ()
    views: list = dataclasses.field(default_factory=list)
    name: str = ""  # of the layer whose result it is

    def root(self):
        """Returns the outermost concatenation around this tensor and its first channel there."""
        tensor, offset = self, 0
        while tensor.whole is not None:
            tensor, offset = tensor.whole, offset + tensor.offset
        return tensor, offset

    def leaves(self):
        """Returns the tensors that operations write, of which this one consists."""
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]


@dataclasses.dataclass(eq=False)
class View:
    """act(norm(stored)), either of which may be absent; computed where it is needed and not kept."""

    stored: Stored
    norm: object = None  # the trace's layer
    slope: float = 1.0  # of the activation for negative numbers; 1 is none
    consumers: int = 0

    @property
    def name(self):
        return self.norm.name if self.norm is not None else self.stored.name

    @property
    def plain(self):
        return self.norm is None and self.slope == 1.0


class Tensors:
    """The stored tensors of a traced network in the order of computation, for inputs (N, channels, height, width)."""

    def __init__(self, trace, shape, lanes):
        self.lanes = lanes
        self.stored = []
        self._views = {}
        self._plain = {}
        uses = [source for layer in trace.layers for source in layer.inputs]
        self._then_act = {
            id(source)
            for layer in trace.layers
            if layer.kind == "act"
            for source in layer.inputs
            if source.kind == "add" and sum(use is source for use in uses) == 1
        }
        # oneDNN reads images of three channels as they are; whatever else comes in is brought into blocks first.
        readers = [layer for layer in trace.layers if trace.layers[0] in layer.inputs]
        self._one_convolution = len(readers) == 1 and readers[0].kind == "conv"
        results = {}
        for layer in trace.layers:
            inputs = [results[id(source)] for source in layer.inputs]
            self._name = layer.name or layer.kind
            results[id(layer)] = self._lower(layer, inputs, shape)
        self.input = self.stored[0]
        self.output = results[id(trace.output)]
        if not isinstance(self.output, View):
            raise Untraceable("the result is a gate or a product")
        self.flat = bool(trace.output.numbers.get("flat"))
        self.use(self.output)

    def use(self, view):
        view.consumers += 1
        if view not in view.stored.views:
            view.stored.views.append(view)
        return view

    def _view(self, stored, norm=None, slope=1.0):
        key = (id(stored), id(norm), slope)
        return self._views.setdefault(key, View(stored, norm, slope))

    def _store(self, kind, channels, height, width, sources=(), **fields):
        if height < 1 or width < 1:
            raise Untraceable(f"a {kind} of {height} x {width} pixels")
        sources = tuple(self.use(source) for source in sources)
        stored = Stored(kind, channels, height, width, sources, name=self._name, **fields)
        self.stored.append(stored)
        return self._view(stored)

    def _kept(self, view):
        """A plain view: of what is stored anyway, or of a copy of it with its norm and activation."""
        if not isinstance(view, View):
            raise Untraceable("a gate or a product is used twice or in a way that programs do not know")
        if view.plain:
            return view
        if view not in self._plain:
            stored = view.stored
            self._plain[view] = self._store("affine", stored.channels, stored.height, stored.width, (view,))
        return self._plain[view]

    def _lower(self, layer, inputs, shape):
        if layer.kind == "input":
            view = self._store("input", *shape)
            if shape[0] < 8 and self._one_convolution:
                return view
            return self._store("affine", *shape, (view,))
        return getattr(self, "_" + layer.kind)(layer, *inputs)

    def _norm(self, layer, view):
        if layer.parameters["gamma"].shape[0] != view.stored.channels:
            raise Untraceable(
                f"a norm of {layer.parameters['gamma'].shape[0]} channels is given {view.stored.channels}"
            )
        return self._view(self._kept(view).stored, layer)

    def _act(self, layer, view):
        if isinstance(view, _Sum):
            size = _size(view.left.stored)
            return self._store(
                "join", *size, view.sources(), numbers={"slope": layer.numbers["slope"], "gate": view.gate}
            )
        if view.slope != 1.0:
            view = self._store("affine", *_size(view.stored), (view,))
        return self._view(view.stored, view.norm, layer.numbers["slope"])

    def _conv(self, layer, view):
        view = self._checked(view)
        numbers, stored = dict(layer.numbers), view.stored
        if layer.parameters["weight"].shape[1] != stored.channels:
            raise Untraceable(
                f"a convolution of {layer.parameters['weight'].shape[1]} channels is given {stored.channels}"
            )
        return self._window("conv", numbers.pop("channels"), numbers, view, layer.parameters)

    def _max_pool(self, layer, view):
        return self._window("max_pool", None, dict(layer.numbers), self._checked(view), {})

    def _avg_pool(self, layer, view):
        return self._window("avg_pool", None, dict(layer.numbers), self._checked(view), {})

    def _window(self, kind, channels, numbers, view, parameters):
        stored = view.stored
        height, top = _extent(stored.height, numbers, 0)
        width, left = _extent(stored.width, numbers, 2)
        numbers.update(top=top, left=left)
        return self._store(
            kind, channels or stored.channels, height, width, (view,), numbers=numbers, parameters=parameters
        )

    def _gather(self, layer, view):
        view = self._checked(view)
        stored = view.stored
        weight = layer.parameters.get("weight")
        if weight is not None and tuple(weight.shape) != (stored.channels, 1, stored.height, stored.width):
            raise Untraceable("a gather for another size")
        return self._store("gather", stored.channels, 1, 1, (view,), parameters=layer.parameters)

    def _sigmoid(self, layer, view):
        return _Gate(self._kept(self._checked(view)))

    def _multiply(self, layer, left, right):
        if isinstance(left, _Gate):
            left, right = right, left
        if not isinstance(left, View) or not isinstance(right, _Gate):
            raise Untraceable("a product that is not a tensor times a sigmoid")
        if (right.view.stored.height, right.view.stored.width) != (1, 1):
            raise Untraceable("a gate for each pixel")
        return _Product(left, right.view)

    def _add(self, layer, left, right):
        if isinstance(right, _Product):
            left, right = right, left
        product = left if isinstance(left, _Product) else _Product(left, None)
        for view in (product.left, right):
            self._checked(view)
        if _size(product.left.stored) != _size(right.stored):
            raise Untraceable("an addition of tensors of different shapes")
        total = _Sum(product.left, right, product.gate)
        if id(layer) in self._then_act:
            return total
        size = _size(product.left.stored)
        return self._store("join", *size, total.sources(), numbers={"slope": 1.0, "gate": total.gate})

    def _checked(self, view):
        if not isinstance(view, View):
            raise Untraceable("a gate, a product or a sum is used in a way that programs do not know")
        return view

    def _concat(self, layer, *views):
        parts = [self._kept(view).stored for view in views]
        if len({(part.height, part.width) for part in parts}) != 1:
            raise Untraceable("a concatenation of different sizes")
        channels = sum(part.channels for part in parts)
        whole = Stored("concat", channels, parts[0].height, parts[0].width, name=self._name)
        for part in parts:
            if part.whole is not None or part.channels % self.lanes:
                raise Untraceable(f"a concatenation of {part.channels} channels, or of what is part of another one")
        for part in parts:
            part.whole, part.offset = whole, sum(other.channels for other in whole.parts)
            whole.parts += (part,)
        self.stored.append(whole)
        return self._view(whole)


@dataclasses.dataclass
class _Gate:
    view: View


@dataclasses.dataclass
class _Product:
    left: View
    gate: View


@dataclasses.dataclass
class _Sum:
    left: View
    right: View
    gate: View

    def sources(self):
        return (self.left, self.right) + ((self.gate,) if self.gate else ())


def _size(stored):
    return stored.channels, stored.height, stored.width


def _extent(size, numbers, axis):
    """Returns the output size and the padding before the first pixel, along one axis."""
    kernel, stride, mode = numbers["kernel"], numbers["stride"], numbers["pad_mode"]
    if mode == "same":
        out = -(-size // stride)
        return out, max((out - 1) * stride + kernel - size, 0) // 2
    before, after = numbers["padding"][axis : axis + 2] if mode == "pad" else (0, 0)
    return (size + before + after - kernel) // stride + 1, before
