"""Replaces the parts of a network that programs can run by nodes of the graph that run them."""

import ctypes
import functools
import hashlib
import logging
import weakref

import mindspore
import numpy as np
from mindspore import nn, ops

from kernels.graph import native
from kernels.graph.backward import Backward
from kernels.graph.bridge import BridgeMissing, set_threads, shim
from kernels.graph.forward import Evaluation, Forward
from kernels.graph.places import Tape
from kernels.graph.shapes import Tensors
from kernels.graph.stages import packed
from kernels.graph.trace import Untraceable, read

_VERSION = 2  # of what a key stands for
_EVALUATION, _FORWARD, _INPUT_GRADIENT, _BACKWARD = range(4)  # the parts of the way back have numbers from _BACKWARD on
_TRIAL_SIZES = (224, 32, 7)

logger = logging.getLogger("cellwright.kernels")


class Family:
    """The programs of one traced network: its directions, each for any number of input shapes, found by key and shape.

    parts: the way back to the parameters is cut into so many programs, each with about as many numbers of gradients. Raises
    Untraceable where no size of image can be planned.
    """

    def __init__(self, trace, parts=1):
        self.trace = trace
        self.trainable = trace.parameters(("weight", "bias", "gamma", "beta"))
        self.statistics = trace.parameters(("moving_mean", "moving_variance"))
        self.built, self._tensors = {}, {}
        self.parts = [self.trainable]
        groups = self._try()
        self.parts = _cut(groups, parts)  # the last layers first
        self.trainable = [parameter for part in reversed(self.parts) for parameter in part]
        text = f"{_VERSION} {native.lanes()} {trace.signature()}"
        names = ["evaluation", "forward", "input"] + [f"back {part} of {len(self.parts)}" for part in range(len(self.parts))]
        self.keys = [
            int.from_bytes(hashlib.sha256(f"{name} {text}".encode()).digest()[:8], "little") >> 1 for name in names
        ]
        for key in self.keys:
            _families.setdefault(key, weakref.WeakSet()).add(self)

    def _try(self):
        """Plans all directions for some size of image and returns the parameters in the order of their gradients, in groups."""
        if not any(layer.kind == "conv" for layer in self.trace.layers):
            raise Untraceable("it has no convolution")
        layers = self.trace.layers
        first = next(layer for layer in layers if "weight" in layer.parameters or "gamma" in layer.parameters)
        channels = first.parameters["weight"].shape[1] if first.kind == "conv" else first.parameters["gamma"].shape[0]
        # A gather has to meet the map that it was made for: its extent times the strides before it.
        extents = {layer.parameters["weight"].shape[2] for layer in layers if layer.kind == "gather" and layer.parameters}
        fitting = tuple(extent << halvings for extent in sorted(extents, reverse=True) for halvings in range(7))
        reasons = []
        for size in _TRIAL_SIZES + fitting:
            shape = 2, channels, size, size
            try:
                for direction in (_EVALUATION, _FORWARD, _INPUT_GRADIENT):
                    self.plan(direction, shape, dry=True)
                backward = Backward(self.tensors(shape[1:]), 2, set_threads(0), self.trainable, self.parts, dry=True)
                backward.plan()
                return backward.groups
            except Untraceable as reason:
                reasons.append(reason)
        raise reasons[0]

    def tensors(self, shape):
        """Returns the tensors for inputs of this shape (C, H, W)."""
        if shape not in self._tensors:
            self._tensors[shape] = Tensors(self.trace, shape, native.lanes())
        return self._tensors[shape]

    def output_shape(self, shape):
        """Returns the shape of the result for inputs (N, C, H, W); ValueError if the network does not take such inputs."""
        if len(shape) != 4:
            raise ValueError(f"inputs of shape {tuple(shape)}: (N, C, H, W) is needed")
        try:
            tensors = self.tensors(tuple(shape[1:]))
        except Untraceable as reason:
            raise ValueError(f"inputs of shape {tuple(shape)}: {reason}") from None
        stored = tensors.output.stored
        return [shape[0], stored.channels] + ([] if tensors.flat else [stored.height, stored.width])

    def plan(self, direction, shape, **settings):
        """Returns the stages of a direction for inputs (N, C, H, W)."""
        tensors, images, threads = self.tensors(tuple(shape[1:])), shape[0], set_threads(0)
        if direction in (_EVALUATION, _FORWARD):
            kind = Forward if direction == _FORWARD else Evaluation
            return kind(tensors, images, threads, self.trainable + self.statistics, **settings).plan()
        parts = None if direction == _INPUT_GRADIENT else self.parts
        return Backward(tensors, images, threads, self.trainable, parts, **settings).plan()

    def sizes(self, direction, shape):
        """Returns the floats of all tensors of the node, and the number of the tape among them."""
        tape, numbers = self.tape(shape), [_numbers(parameter) for parameter in self.trainable]
        image, result = int(np.prod(shape)), int(np.prod(self.output_shape(shape)))
        if direction in (_EVALUATION, _FORWARD):
            sizes = [0, image, *numbers, *map(_numbers, self.statistics), result]
            return (sizes, -1) if direction == _EVALUATION else (sizes + [tape], len(sizes))
        sizes = [0, image, result, tape, *numbers]
        if direction == _INPUT_GRADIENT:
            return sizes + [image], 3
        part = direction - _BACKWARD
        after = [_numbers(self.parts[part - 1][0])] if part else []
        return sizes + after + list(map(_numbers, self.parts[part])), 3

    def tape(self, shape):
        """Returns the floats of the tape with room for aligning it."""
        return Tape(self.tensors(tuple(shape[1:])), shape[0]).floats + 16

    def build(self, direction, shape):
        """Makes the programs of a direction and lets nodes find them; the parts of the way back are made together."""
        if (direction, shape) in self.built:
            return
        stages = self.plan(direction, shape)
        directions = [direction] if direction < _BACKWARD else range(_BACKWARD, _BACKWARD + len(self.parts))
        bounds = [0, *stages.cuts, len(stages.closed)]
        lib, first = native.library(), None
        for number, begin, end in zip(directions, bounds, bounds[1:]):
            sizes, tape_index = self.sizes(number, shape)
            program = lib.cellwright_program_new(
                self.keys[number], native.integers(shape), native.lanes(), tape_index, len(sizes), native.integers(sizes), first
            )
            first = first or program
            for capacity, operations, jobs in stages.closed[begin:end]:
                lists = [packed(entries) for entries in jobs]
                pointers = (ctypes.POINTER(native.Operation) * 3)(
                    *(ctypes.cast(array, ctypes.POINTER(native.Operation)) for array in lists)
                )
                lib.cellwright_program_stage(
                    program, capacity, packed(operations), len(operations), pointers, native.integers(map(len, jobs))
                )
            lib.cellwright_program_publish(program, stages.work_floats, stages.scratch_floats)
            self.built[number, shape] = program
            plans[program] = number, shape, stages.closed[begin:end]


def _numbers(parameter):
    return int(np.prod(parameter.shape))


def _cut(groups, parts):
    """Returns the parameters as at most `parts` runs of about as many numbers each; a group, planned together, stays whole."""
    total, runs, filled = sum(_numbers(parameter) for group in groups for parameter in group), [[]], 0
    for group in groups:
        numbers = sum(map(_numbers, group))
        if runs[-1] and filled + numbers / 2 > total * len(runs) / parts:
            runs.append([])
        runs[-1].extend(group)
        filled += numbers
    return [tuple(reversed(run)) for run in runs if run]


plans = {}  # address of a program, which lasts as long as the process -> (direction, shape, stages), for a profile
_families = {}  # key -> the families that have it; networks of the same structure share their programs


@native.Builder
def _build(key, *shape):
    """Called by a node that finds no program, on a thread of the runtime; 0 if there is one now."""
    try:
        family = next(iter(_families[key]))
        family.build(family.keys.index(key), shape)
        return 0
    except Exception:  # nothing may pass through the C code that called
        logger.exception("no program for inputs of %s", shape)
        return 1


def _node(family, direction, out_shape, outputs):
    """The operator that runs one direction of a family."""
    path, _ = shim()

    def dtypes(*inputs):
        if "Float32" not in str(inputs[1]):
            raise TypeError(f"inputs of {inputs[1]}: programs compute in float32")
        return inputs[1] if outputs == 1 else (inputs[1],) * outputs

    return ops.Custom(f"{path}:cellwright_program", out_shape, dtypes, func_type="aot")


class _Evaluation(nn.Cell):
    def __init__(self, family):
        super().__init__()
        self.key = mindspore.Tensor([family.keys[_EVALUATION]], mindspore.int64)

        def out_shape(*shapes):
            return family.output_shape(tuple(shapes[1]))

        self.node = _node(family, _EVALUATION, out_shape, 1)

    def construct(self, x, trainable, statistics):
        return self.node(self.key, x, *trainable, *statistics)


class _WayBack(nn.Cell):
    """Returns the gradients of the parameters of a part and of all parts after it, which are those of earlier layers."""

    def __init__(self, family, part=0):
        super().__init__()
        self.key = mindspore.Tensor([family.keys[_BACKWARD + part]], mindspore.int64)
        first = 4 + sum(map(len, family.parts[part + 1 :]))
        end = first + len(family.parts[part])
        self.single, self.last = end - first == 1, part + 1 == len(family.parts)

        def out_shape(*shapes):
            own = [list(shape) for shape in shapes[first:end]]
            return own[0] if len(own) == 1 else tuple(own)

        self.node = _node(family, _BACKWARD + part, out_shape, end - first)
        # A chain of cells: the compiler does not take a loop on the way back (MindSpore 2.10).
        self.rest = None if self.last else _WayBack(family, part + 1)

    def construct(self, x, dout, tape, trainable, after):
        own = self.node(self.key, x, dout, tape, *trainable, *after)
        if self.single:
            own = (own,)
        if self.last:
            return own
        return self.rest(x, dout, tape, trainable, (own[0],)) + own


class _Training(nn.Cell):
    """Returns the result and the tape; the gradient of the input is another node, which is dropped where nobody asks for it."""

    def __init__(self, family):
        super().__init__()
        self.forward_key, self.input_key = (
            mindspore.Tensor([family.keys[direction]], mindspore.int64) for direction in (_FORWARD, _INPUT_GRADIENT)
        )

        def forward_shape(*shapes):
            shape = tuple(shapes[1])
            return family.output_shape(shape), [family.tape(shape)]

        def input_shape(*shapes):
            return list(shapes[1])

        self.forward = _node(family, _FORWARD, forward_shape, 2)
        # It moves the moving statistics: whatever reads or sets them keeps its place before or after.
        self.forward.add_prim_attr("side_effect_mem", True)
        self.way_back = _WayBack(family)
        self.input_gradient = _node(family, _INPUT_GRADIENT, input_shape, 1)

    def construct(self, x, trainable, statistics):
        return self.forward(self.forward_key, x, *trainable, *statistics)

    def bprop(self, x, trainable, statistics, out, dout):
        gradients = self.way_back(x, dout[0], out[1], trainable, ())
        input_gradient = self.input_gradient(self.input_key, x, dout[0], out[1], *trainable)
        return input_gradient, gradients, statistics


class _Accelerated(nn.Cell):
    """Takes the place of a cell's class: the same parameters and cells, another `construct`."""

    def construct(self, x):
        if self.training:
            return self.program_training(x, self.program_trainable, self.program_statistics)[0]
        return self.program_evaluation(x, self.program_trainable, self.program_statistics)


def accelerate(network, backward_parts=1):
    """Returns the network, with all parts that it can run on the CPU by programs of its own replaced by these.

    A program runs a whole subnetwork (convolutions by oneDNN in its own layout; norms, activations, pools and sums between
    them while their operands are in the cache) as one node forward and one backward. Parameters, their names and the cells
    stay what they are; only the class of the replaced cells changes. Whatever cannot be replaced stays: cells of types that
    programs do not know, networks that are not float32, machines without the shim or without AVX2.

    backward_parts: nodes of the way back, each with about as many numbers of gradients. With several, the first gradients can
    be summed over ranks while the others are computed; they give the same bits and take a memory of their own.
    """
    if _ready():
        _replace(network, "", backward_parts)
    return network


@functools.lru_cache(maxsize=1)
def _ready():
    """True if this machine can run programs; if not, says why, once."""
    try:
        native.library().cellwright_builder(_build)
    except BridgeMissing as missing:
        logger.warning("%s", missing)
        return False
    return True


def accelerated(network):
    """Returns the cells inside `network` (itself included) that programs run."""
    return [cell for _, cell in network.cells_and_names() if isinstance(cell, _Accelerated)]


def restore(network):
    """Returns the network with the cells that programs ran as they were, for exporting it."""
    for cell in accelerated(network):
        cell.__class__ = cell.__class__.__mro__[2]
        for name in [name for name in cell.__dict__ if name.startswith("program_")]:
            del cell.__dict__[name]
    return network


def _replace(cell, name, parts):
    if isinstance(cell, _Accelerated):
        return
    try:
        family = Family(read(cell, name), parts)
    except Untraceable as reason:
        logger.debug("%s is not replaced: %s", type(cell).__name__, reason)
        for own, child in cell.name_cells().items():
            _replace(child, f"{name}.{own}" if name else own, parts)
        return
    cell.__dict__.update(
        program_training=_Training(family),
        program_evaluation=_Evaluation(family),
        program_trainable=tuple(family.trainable),
        program_statistics=tuple(family.statistics),
        program_family=family,
    )
    cell.__class__ = type(type(cell).__name__, (_Accelerated, type(cell)), {"__module__": type(cell).__module__})
