"""Replaces the parts of a network that programs can run by nodes of the graph that run them."""

import ctypes
import functools
import hashlib
import logging
import weakref

import numpy as np
from mindspore import nn

from cellwright.kernels.compiler.backward import Backward
from cellwright.kernels.compiler.forward import Evaluation, Forward
from cellwright.kernels.compiler.lower import Tensors
from cellwright.kernels.compiler.operands import Tape
from cellwright.kernels.compiler.schedule import packed
from cellwright.kernels.compiler.trace import Untraceable, read
from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.csrc.shim import ShimMissing, set_threads
from cellwright.kernels.nodes.program import (
    BACKWARD,
    EVALUATION,
    FORWARD,
    INPUT_GRADIENT,
    EvaluationNode,
    TrainingNode,
    plans,
)

_VERSION = 2  # of what a key stands for
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
        names = ["evaluation", "forward", "input"] + [
            f"back {part} of {len(self.parts)}" for part in range(len(self.parts))
        ]
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
        extents = {
            layer.parameters["weight"].shape[2] for layer in layers if layer.kind == "gather" and layer.parameters
        }
        fitting = tuple(extent << halvings for extent in sorted(extents, reverse=True) for halvings in range(7))
        reasons = []
        for size in _TRIAL_SIZES + fitting:
            shape = 2, channels, size, size
            try:
                for direction in (EVALUATION, FORWARD, INPUT_GRADIENT):
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
        if direction in (EVALUATION, FORWARD):
            kind = Forward if direction == FORWARD else Evaluation
            return kind(tensors, images, threads, self.trainable + self.statistics, **settings).plan()
        parts = None if direction == INPUT_GRADIENT else self.parts
        return Backward(tensors, images, threads, self.trainable, parts, **settings).plan()

    def sizes(self, direction, shape):
        """Returns the floats of all tensors of the node, and the number of the tape among them."""
        tape, numbers = self.tape(shape), [_numbers(parameter) for parameter in self.trainable]
        image, result = int(np.prod(shape)), int(np.prod(self.output_shape(shape)))
        if direction in (EVALUATION, FORWARD):
            sizes = [0, image, *numbers, *map(_numbers, self.statistics), result]
            return (sizes, -1) if direction == EVALUATION else (sizes + [tape], len(sizes))
        sizes = [0, image, result, tape, *numbers]
        if direction == INPUT_GRADIENT:
            return sizes + [image], 3
        part = direction - BACKWARD
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
        directions = [direction] if direction < BACKWARD else range(BACKWARD, BACKWARD + len(self.parts))
        bounds = [0, *stages.cuts, len(stages.closed)]
        lib, first = native.library(), None
        for number, begin, end in zip(directions, bounds, bounds[1:]):
            sizes, tape_index = self.sizes(number, shape)
            program = lib.cellwright_program_new(
                self.keys[number],
                native.integers(shape),
                native.lanes(),
                tape_index,
                len(sizes),
                native.integers(sizes),
                first,
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
    except ShimMissing as missing:
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
        program_training=TrainingNode(family),
        program_evaluation=EvaluationNode(family),
        program_trainable=tuple(family.trainable),
        program_statistics=tuple(family.statistics),
        program_family=family,
    )
    cell.__class__ = type(type(cell).__name__, (_Accelerated, type(cell)), {"__module__": type(cell).__module__})
