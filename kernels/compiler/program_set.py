"""The programs of one traced network: its directions, each for any inputs, found by key and the inputs' shapes."""

import collections
import functools
import hashlib
import logging
import weakref

import mindspore
import numpy as np

from cellwright.kernels.compiler import emit, forms
from cellwright.kernels.compiler.backward import Backward, Wanted
from cellwright.kernels.compiler.forward import Evaluation, Forward
from cellwright.kernels.compiler.layers import affine
from cellwright.kernels.compiler.layers.norm import STATISTICS
from cellwright.kernels.compiler.lower import Tensors
from cellwright.kernels.compiler.memory import ALIGN
from cellwright.kernels.compiler.saved_tensors import SavedTensors
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import BFLOAT16, FLOAT32, PLAIN, STORED
from cellwright.kernels.compiler.trial_shapes import SIZES, trial_shapes
from cellwright.kernels.csrc import program_abi as native
from cellwright.kernels.csrc.shim import set_threads
from cellwright.kernels.nodes.program import BACKWARD, EVALUATION, FORWARD, INPUT_GRADIENT, plans

_VERSION = 4  # of what a key stands for
_SHAPES = 16  # programs that are kept for a direction; of more shapes than that the oldest goes
_WEIGHTS = ("weight", "bias", "gamma", "beta", "slopes")
_PHASES = {EVALUATION: "evaluation", FORWARD: "forward"}

logger = logging.getLogger("cellwright.kernels")


class ProgramSet:
    """parts: the backward to the parameters is cut into so many programs, each with about as many numbers of gradients.

    training: by batch statistics where the trace says so; else the whole set computes as in evaluation. together:
    the last part of the backward gives the gradients of the inputs, too. dtype: in which tensors are stored; what goes
    in and out, and parameters and their gradients, are float32. Raises Untraceable where no size of image can be
    planned.
    """

    def __init__(self, trace, parts, training, together, dtype=FLOAT32):
        self.trace, self.together, self.dtype = trace, together, dtype
        weights = trace.parameters(_WEIGHTS)
        self.trainable = [parameter for parameter in weights if parameter.requires_grad]
        self.frozen = [parameter for parameter in weights if not parameter.requires_grad]
        self.statistics = trace.parameters(STATISTICS) + trace.draws()
        self.moves_statistics = any(layer.kind.changes_parameters(layer) for layer in trace.layers)
        self.inputs, self.outputs = len(trace.inputs), len(trace.outputs)
        self._tensors = {}
        self.parts = [tuple(self.trainable)]
        groups = self._try(training)
        self.parts = _cut(groups, parts) or [()]  # the last layers first
        self.trainable = [parameter for part in reversed(self.parts) for parameter in part]
        form = forms.fastest() if dtype == BFLOAT16 else STORED
        text = f"{_VERSION} {native.lanes()} {set_threads(0)} {dtype} {form} {trace.signature()}"
        names = ["evaluation", "forward", "input"] + [
            f"back {part} of {len(self.parts)}{' with input' * together}" for part in range(len(self.parts))
        ]
        self.keys = [
            int.from_bytes(hashlib.sha256(f"{name} {text}".encode()).digest()[:8], "little") >> 1 for name in names
        ]
        _share(self)

    @property
    def parameters(self):
        """The parameters in the order of the nodes: trainable ones, frozen ones, and what is no weight (moving
        statistics, the draws of dropouts).
        """
        return tuple(self.trainable), tuple(self.frozen), tuple(self.statistics)

    def _try(self, training):
        """Plans all directions for some size of image and returns the parameters in the order of their gradients,
        in groups.
        """
        reasons = []
        for extents in trial_shapes(self.trace):
            try:
                self._trial = Tensors(self.trace, extents, native.lanes(), trial=True, dtype=self.dtype)
                return self._plan_all([(2, *extent) for extent in extents], training)
            except Untraceable as reason:
                reasons.append(reason)
        raise reasons[0]

    def _plan_all(self, shapes, training):
        for direction in (FORWARD, INPUT_GRADIENT) if training else (FORWARD, EVALUATION):
            self._plan(direction, shapes, dry=True)
        return self._plan(BACKWARD, shapes, dry=True).groups

    def try_shapes(self, *shapes):
        """Raises ValueError or Untraceable if there are no programs for inputs of these shapes."""
        self.output_shapes(*shapes)
        self._plan_all(shapes, True)

    def work(self):
        """Returns the forward FLOPs of the convolutions for an image of 224 pixels, and those for each number of
        inputs and outputs whose layout is changed.
        """
        stored, scale = self._trial.stored, (SIZES[0] / self._trial.shapes[0][-1]) ** 2
        flops = sum(tensor.kind.flops(tensor) for tensor in stored)
        brought = [tensor for tensor in stored if tensor.sources and _imports(tensor)]
        brought += [view.stored for view in self._trial.outputs]
        return flops * scale, flops / sum(tensor.channels * tensor.pixels for tensor in brought)

    def tensors(self, *shapes):
        """Returns the tensors for inputs of these shapes (N, C, H, W)."""
        extents = tuple(tuple(shape[1:]) for shape in shapes)
        if extents not in self._tensors:
            self._tensors[extents] = Tensors(self.trace, extents, native.lanes(), dtype=self.dtype)
        return self._tensors[extents]

    def output_shapes(self, *shapes):
        """Returns the shapes of the outputs for inputs (N, C, H, W); ValueError if the network does not take such
        inputs.
        """
        told = ", ".join(str(tuple(shape)) for shape in shapes)
        if any(len(shape) != 4 for shape in shapes):
            raise ValueError(f"inputs of shape {told}: (N, C, H, W) is needed")
        if len({shape[0] for shape in shapes}) != 1:
            raise ValueError(f"inputs of shapes {told}: they have different numbers of images")
        try:
            found = [view.stored for view in self.tensors(*shapes).outputs]
        except Untraceable as reason:
            raise ValueError(f"inputs of shape {told}: {reason}") from None
        return [
            [shapes[0][0], stored.channels] + ([] if stored.flat else [stored.height, stored.width]) for stored in found
        ]

    def saved_floats(self, *shapes):
        """Returns the floats of the saved tensors, with room for aligning them."""
        return SavedTensors(self.tensors(*shapes), shapes[0][0]).floats + ALIGN

    def _plan(self, direction, shapes, **settings):
        """Returns the plan of a direction for inputs (N, C, H, W), with its finished stages."""
        tensors, images, threads = self.tensors(*shapes), shapes[0][0], set_threads(0)
        if direction in (EVALUATION, FORWARD):
            kind = Forward if direction == FORWARD else Evaluation
            parameters = self.trainable + self.frozen + self.statistics
            plan = kind(tensors, images, threads, parameters, **settings)
        else:
            wanted = Wanted(input=True)
            if direction != INPUT_GRADIENT:
                wanted = Wanted(tuple(self.parts), self.together)
            plan = Backward(tensors, images, threads, self.trainable + self.frozen, wanted, **settings)
        plan.plan()
        return plan

    def work_floats(self, *shapes):
        """Returns the floats of the work memory that the parts of the backward hand on, with room for aligning it."""
        self.build(BACKWARD, *shapes)
        return _work_floats[self.keys[BACKWARD], shapes]

    def _sizes(self, direction, shapes, work_floats):
        """Returns the floats of all tensors of the node, and the numbers of the saved and of the work tensor among
        them.
        """
        images, results = ([int(np.prod(shape)) for shape in some] for some in (shapes, self.output_shapes(*shapes)))
        saved = self.saved_floats(*shapes)
        weights = [_numbers(parameter) for parameter in self.trainable + self.frozen]
        if direction in (EVALUATION, FORWARD):
            sizes = [0, *images, *weights, *map(_size, self.statistics), *results]
            return (sizes, -1, -1) if direction == EVALUATION else (sizes + [saved], len(sizes), -1)
        sizes = [0, *images, *results, saved, *weights]
        saved_index = 1 + self.inputs + self.outputs
        if direction == INPUT_GRADIENT:
            return sizes + images, saved_index, -1
        part, last = direction - BACKWARD, len(self.parts) - 1
        own = images * (self.together and part == last) + list(map(_numbers, self.parts[part]))
        if not last:
            return sizes + own, saved_index, -1
        if part:
            return sizes + [work_floats, *own], saved_index, len(sizes)
        return sizes + [*own, work_floats], saved_index, len(sizes) + len(own)

    def build(self, direction, *shapes):
        """Makes the programs of a direction for inputs (N, C, H, W) and lets nodes find them; the parts of the backward
        are made together.
        """
        if shapes in _programs[self.keys[direction]]:
            return
        stages = self._plan(direction, shapes).stages
        directions = [direction] if direction < BACKWARD else range(BACKWARD, BACKWARD + len(self.parts))
        bounds = [0, *stages.cuts, len(stages.closed)]
        for number, begin, end in zip(directions, bounds, bounds[1:]):
            closed = stages.closed[begin:end]
            sizes, saved_index, work_index = self._sizes(number, shapes, stages.work_floats + ALIGN)
            memory = stages.work_floats, stages.scratch_floats, stages.kept_floats
            program = emit.emit(
                self.keys[number], shapes, closed, memory, sizes, saved_index, work_index, set_threads(0), self.dtype
            )
            _work_floats[self.keys[number], shapes] = stages.work_floats + ALIGN
            phase = _PHASES.get(number, "backward")
            input_only = number == INPUT_GRADIENT
            plans[program] = phase, shapes[0], functools.partial(emit.describe, closed, phase, input_only, self.dtype)
            _keep(self.keys[number], shapes, program)


def _imports(tensor):
    """True if this is an input, brought into blocks."""
    return tensor.kind is affine.AFFINE and tensor.sources[0].stored.layout == PLAIN


def _numbers(parameter):
    return int(np.prod(parameter.shape))


def _size(parameter):
    """The size of a node's tensor as its program has it: negative for int32."""
    return -_numbers(parameter) if parameter.dtype == mindspore.int32 else _numbers(parameter)


def _cut(groups, parts):
    """Returns the parameters as at most `parts` runs of about as many numbers each; a group, planned together, stays
    whole.
    """
    total, runs, filled = sum(_numbers(parameter) for group in groups for parameter in group), [[]], 0
    for group in groups:
        numbers = sum(map(_numbers, group))
        if runs[-1] and filled + numbers / 2 > total * len(runs) / parts:
            runs.append([])
        runs[-1].extend(group)
        filled += numbers
    return [tuple(reversed(run)) for run in runs if run]


# Networks of the same structure share their programs; with the last of them these go.
_sets = collections.defaultdict(weakref.WeakSet)  # key -> the program sets that have it
_programs = collections.defaultdict(dict)  # key -> shapes -> program, the oldest first
_work_floats = {}  # key and shapes -> floats of the work memory


def _share(program_set):
    for key in program_set.keys:
        _sets[key].add(program_set)
    weakref.finalize(program_set, _leave, tuple(program_set.keys)).atexit = False


def _leave(keys):
    for key in keys:
        if not list(_sets[key]):  # its length counts those whose end is being told
            for shapes in list(_programs[key]):
                _free(key, shapes)
            del _sets[key], _programs[key]


def _keep(key, shapes, program):
    _programs[key][shapes] = program
    if len(_programs[key]) > _SHAPES:
        _free(key, next(iter(_programs[key])))


def _free(key, shapes):
    program = _programs[key].pop(shapes)
    plans.pop(program, None)
    _work_floats.pop((key, shapes), None)
    native.library().cellwright_program_free(program)


@native.Builder
def build(key, numbers):
    """Called by a node that finds no program, on a thread of the runtime; 0 if there is one now."""
    found = next(iter(_sets.get(key, ())), None)
    if found is None:
        logger.error("a graph that was kept on disk names a program of another network or setting: delete such graphs")
        return 1
    shapes = [tuple(numbers[4 * k : 4 * k + 4]) for k in range(found.inputs)]
    try:
        found.build(found.keys.index(key), *shapes)
        return 0
    except Exception:  # nothing may pass through the C code that called
        logger.exception("no program for inputs of %s", shapes)
        return 1


@native.Reporter
def report(code):
    """Called by a node that fails, before the framework raises its own error, which tells nothing but the code."""
    logger.error("a program ended with error %d: %s", code, native.MESSAGES.get(code, "not in the table of errors"))
