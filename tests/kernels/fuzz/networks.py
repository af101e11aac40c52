"""A network as data, and the MindSpore cell that it describes, as a source file: MindSpore compiles nothing else."""

import dataclasses
import importlib.util
import itertools
import sys
import tempfile
from pathlib import Path

from fuzz.layers import KINDS, Impossible

_DEFAULTS = {
    "conv": {"channels": 1, "kernel": (1, 1), "stride": (1, 1), "pad_mode": "same", "padding": (0, 0, 0, 0)}
    | {"dilation": (1, 1), "group": 1, "bias": False},
    "norm": {"eps": 1e-5, "momentum": 0.9, "mode": "own"},
    "group_norm": {"group": 1, "eps": 1e-5},
    "pixel_norm": {"eps": 1e-5},
    "act": {"name": "relu", "form": "cell"},
    "prelu": {"shared": False},
    "resize": {"size": (1, 1), "factor": 0, "mode": "nearest"},
    "max_pool": {"kernel": (1, 1), "stride": (1, 1), "pad_mode": "valid", "padding": (0, 0, 0, 0)},
    "add": {"form": "sign"},
    "concat": {"form": "cell"},
    "mean": {"keep": True, "form": "cell"},
    "flatten": {"form": "cell"},
    "dense": {"channels": 1, "bias": False},
    "scale": {"factor": 1.0, "shift": 0.0, "training": False},
    "dropout": {"p": 0.5, "word": 0},
    "same": {"form": "identity"},
    "shuffle": {"group": 1},
    "slice": {"first": 0, "last": 1},
    "split": {"group": 1, "first": 0},
}
_DEFAULTS["unused"] = _DEFAULTS["conv"]
_DEFAULTS["avg_pool"] = _DEFAULTS["max_pool"] | {"include": True}
_DEFAULTS["multiply"] = _DEFAULTS["add"]


@dataclasses.dataclass(frozen=True)
class Step:
    """One step of a block: its kind, the values that it takes, its settings.

    sources: 0 is the block's input, k + 1 the result of step k. settings: (name, value) where not the simplest one.
    frozen: its parameters ask for no gradient. again: the earlier step of the block whose cell it calls once more.
    """

    kind: str
    sources: tuple
    settings: tuple = ()
    frozen: bool = False
    again: int | None = None

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        for known, value in self.settings:
            if known == name:
                return value
        try:
            return _DEFAULTS[self.kind][name]
        except KeyError:
            raise AttributeError(name) from None


def step(kind, *sources, frozen=False, again=None, **settings):
    """Returns a Step with these settings."""
    simplest = _DEFAULTS.get(kind, {})
    unknown = set(settings) - set(simplest)
    if unknown:
        raise TypeError(f"{kind} has no {sorted(unknown)}")
    return Step(kind, sources, tuple(sorted((k, v) for k, v in settings.items() if simplest[k] != v)), frozen, again)


@dataclasses.dataclass(frozen=True)
class Network:
    """Blocks in a row, each a cell of its own that takes one tensor and returns the result of its last step.

    shape: of the input, (N, C, H, W). seed: of its parameters and images. further: values of the last block that are
    returned beside its last one, counted as a step's sources are.
    """

    shape: tuple
    blocks: tuple
    seed: int = 0
    further: tuple = ()

    def shapes(self):
        """Returns the shapes of all values of each block; raises Impossible."""
        if not all(self.blocks) or not self.blocks:
            raise Impossible("nothing to compute")
        if max(self.further, default=0) > len(self.blocks[-1]):
            raise Impossible("a result of no step")
        found, shape = [], self.shape
        for block in self.blocks:
            values = [shape]
            for one in block:
                values.append(tuple(KINDS[one.kind].shape(one, [values[source] for source in one.sources])))
                if min(values[-1]) < 1:
                    raise Impossible("an empty map")
                if one.again is not None and not _same_cell(one, block, values):
                    raise Impossible("a cell cannot be called again with other channels")
            found.append(values)
            shape = values[-1]
        return found

    def outputs(self):
        """Returns the numbers of the values of the last block that are returned."""
        return len(self.blocks[-1]), *self.further

    def parameters(self):
        """Yields (name, shape, role, step) of every parameter."""
        for b, (block, values) in enumerate(zip(self.blocks, self.shapes())):
            for k, one in enumerate(block):
                if one.again is None:
                    inputs = [values[source] for source in one.sources]
                    for role, shape in KINDS[one.kind].parameters(one, inputs).items():
                        yield f"b{b}.s{k}.{role}", shape, role, one

    def source(self):
        """Returns the file that holds its cells."""
        lines = _HEADER.splitlines()
        for b, (block, values) in enumerate(zip(self.blocks, self.shapes())):
            lines += ["", "", f"class Block{b}(nn.Cell):", "    def __init__(self):", "        super().__init__()"]
            body = []
            for k, one in enumerate(block):
                cell = KINDS[one.kind].cell(one, [values[source] for source in one.sources])
                name = f"self.s{k if one.again is None else one.again}" if cell else None
                if cell and one.again is None:
                    lines.append(f"        {name} = {cell}")
                    if one.frozen:
                        lines.append(f"        freeze({name})")
                arguments = ["x" if source == 0 else f"v{source - 1}" for source in one.sources]
                body.append(f"        v{k} = {KINDS[one.kind].call(one, name, arguments)}")
            outputs = self.outputs() if b == len(self.blocks) - 1 else [len(block)]
            returned = ", ".join(f"v{k - 1}" if k else "x" for k in outputs)
            lines += ["", "    def construct(self, x):", *body, f"        return {returned}"]
        lines += ["", "", "class Network(nn.Cell):", "    def __init__(self):", "        super().__init__()"]
        lines += [f"        self.b{b} = Block{b}()" for b in range(len(self.blocks))]
        lines += ["", "    def construct(self, x):", *(f"        x = self.b{b}(x)" for b in range(len(self.blocks)))]
        return "\n".join([*lines, "        return x", ""])

    def build(self):
        """Returns a new cell of this network."""
        text = self.source()
        if text not in _modules:
            path = Path(_folder.name) / f"fuzzed_{next(_numbers)}.py"
            path.write_text(text, encoding="utf-8")
            spec = importlib.util.spec_from_file_location(path.stem, path)
            _modules[text] = importlib.util.module_from_spec(spec)
            sys.modules[path.stem] = _modules[text]  # where MindSpore looks for the names that a cell uses
            spec.loader.exec_module(_modules[text])
        return _modules[text].Network()

    def set_train(self, cell, training):
        """Sets the mode of the cell, but for the norms that stay in evaluation."""
        cell.set_train(training)
        for b, block in enumerate(self.blocks):
            for k, one in enumerate(block):
                if one.kind == "norm" and one.mode == "eval" and one.again is None:
                    getattr(getattr(cell, f"b{b}"), f"s{k}").set_train(False)


_folder, _numbers, _modules = tempfile.TemporaryDirectory(), itertools.count(), {}


def _same_cell(one, block, values):
    first = block[one.again]
    if (first.kind, first.settings, first.again) != (one.kind, one.settings, None):
        return False
    shapes = [KINDS[one.kind].parameters(s, [values[source] for source in s.sources]) for s in (first, one)]
    return shapes[0] == shapes[1]


_HEADER = '''"""A fuzzed network."""

from fuzz.cells import Factors, dropout, freeze, shuffle
from mindspore import nn, ops
from norm_cells import ChannelNorm
from small_cells import GlobalMean
'''
