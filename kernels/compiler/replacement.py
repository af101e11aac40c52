"""What an accelerated cell runs: a program of what the cell is now, or its own `construct` where there is none."""

import functools
import logging
import types

import mindspore

from cellwright.kernels.compiler.errors import Untraceable, UntraceableEnds
from cellwright.kernels.compiler.program_set import ProgramSet
from cellwright.kernels.compiler.tensors import FLOAT32
from cellwright.kernels.compiler.trace import read, stock_class
from cellwright.kernels.csrc.onednn_library import limit_framework
from cellwright.kernels.nodes.program import EvaluationNode, Results, TrainingNode

# A part of a network pays for bringing what goes in and out into blocks and back, and for its nodes, whose weights
# are brought into oneDNN's layout each step. Parts with fewer forward FLOPs for each number that goes in or out,
# or for an image of 224 pixels, stay stock, and so do those of fewer layers: what a program wins most from, and a
# lone convolution has not, are norms and activations between convolutions. 96 pixels, batch 4, a training step of
# SE-ResNet18 cut into 18 lone convolutions 110 to 127 ms, and 92 to 105 ms stock.
LEAST_FLOPS_A_NUMBER, LEAST_FLOPS, LEAST_LAYERS = 128, 8e6, 2
_CHOICES = 8  # for training and evaluation, in two dtypes, and with the backward whole or cut
_SIMPLE = (bool, int, float, str, tuple, type(None))

logger = logging.getLogger("cellwright.kernels")


def cells_of(cell):
    """Returns a cell and all cells inside, each once."""
    return [inner for _, inner in cell.cells_and_names()]


def state_of(cell):
    """Returns what a trace depends on, in a form that can be compared: cells, their classes and settings, and
    their parameters.
    """
    return tuple(
        (
            id(inner),
            stock_class(inner),
            tuple((name, value) for name, value in inner.__dict__.items() if isinstance(value, _SIMPLE)),
            tuple((id(parameter), parameter.requires_grad) for parameter in inner._params.values()),
        )
        for inner in cells_of(cell)
    )


def _pays(programs):
    """The cost rule: True if a part of a network is expected to be faster as a program."""
    flops, flops_a_number = programs.work()
    enough = flops >= LEAST_FLOPS and flops_a_number >= LEAST_FLOPS_A_NUMBER
    return enough and len(programs.trace.layers) - programs.inputs >= LEAST_LAYERS


def _fits(programs):
    """Returns what tells while a graph is compiled whether programs take tensors of these shapes, and `named` arguments
    beside them.
    """

    @functools.cache  # without a graph it is asked at each call
    def known(shapes):
        try:
            programs.try_shapes(*shapes)
        except (ValueError, Untraceable) as reason:
            limit_framework()
            logger.warning("a part of the network is stock: %s", reason)
            return False
        return True

    def fits(shapes, named):
        if len(shapes) != programs.trace.given or named:
            return False
        return known(tuple(shapes[k] for k in programs.trace.takes))

    return mindspore.ops.constexpr(fits, name=f"fits_{programs.keys[0]}", reuse_result=False)


class Choice:
    """What a cell in one state runs. programs: a ProgramSet, or None.

    reason: why there is none, or why they are float32 where bfloat16 was asked for.
    """

    def __init__(self, programs, reason, node):
        self.programs, self.reason, self.told = programs, str(reason), False
        self.error = reason  # to be raised where there have to be programs
        self.runs = programs is not None
        self.node, self.results, self.fits = node, None, None
        self.trainable, self.frozen, self.statistics = programs.parameters if programs else ((), (), ())
        if programs:
            self.results, self.fits = Results(node, programs.trace.takes, programs.trace.gives), _fits(programs)


class Replacement:
    """Finds the Choice for the present state of a cell, again after each change of it."""

    def __init__(self, cell, name, parts, together):
        """together: the gradients of inputs and parameters come from one node."""
        self.name, self.parts, self.together = name, parts, together
        self.dtype = FLOAT32  # in which programs store their tensors where they can
        self._choices = {}
        self.stock_class = stock_class(cell)

    def try_both_modes(self, cell):
        """Makes the choices for training and evaluation; raises Untraceable if one of them has no program.

        Training is the present state, or that after `set_train()` if this is not a training one.
        """
        modes = {inner: inner.training for inner in cells_of(cell)}
        training = modes if cell.training else dict.fromkeys(modes, True)
        try:
            for wanted in (training, dict.fromkeys(modes, False)):
                for inner, mode in wanted.items():
                    inner.__dict__["training"] = mode
                choice = self.choice(cell)
                if not choice.runs:
                    raise choice.error
                several = choice.programs.inputs + choice.programs.outputs > 2
                if (self.name or several) and not _pays(choice.programs):
                    error = UntraceableEnds if several else Untraceable
                    raise error("it has too little to do to pay for changing the layout of what goes in and out")
        finally:
            for inner, mode in modes.items():
                inner.__dict__["training"] = mode

    def choice(self, cell):
        """Returns the Choice for the present state."""
        state = self.dtype, self.parts, state_of(cell)
        if state not in self._choices:
            self._choices[state] = self._make(cell)
            if len(self._choices) > _CHOICES:
                self._choices.pop(next(iter(self._choices)))
        return self._choices[state]

    def _make(self, cell):
        why_wide = ""
        try:
            trace = read(cell, self.name)
            try:
                programs = self._programs(trace, cell, self.dtype)
            except Untraceable as reason:
                if self.dtype == FLOAT32:
                    raise
                why_wide, programs = f"float32: {reason}", self._programs(trace, cell, FLOAT32)
        except Untraceable as reason:
            return Choice(None, reason.with_traceback(None), None)
        return Choice(programs, why_wide, (TrainingNode if cell.training else EvaluationNode)(programs))

    def _programs(self, trace, cell, dtype):
        return ProgramSet(trace, self.parts if cell.training else 1, cell.training, self.together, dtype)

    def keys(self):
        """Returns the keys of all programs that were made, the oldest choice's first."""
        return [key for choice in self._choices.values() if choice.runs for key in choice.programs.keys]

    def attribute(self, cell, name):
        """Returns what the accelerated cell's `construct` asks for."""
        if name == "program_stock":
            return types.MethodType(self.stock_class.construct, cell)
        choice = self.choice(cell)
        if not choice.runs and not choice.told:
            choice.told = True
            limit_framework()
            logger.warning("%s was changed and is stock again: %s", self.name or "the network", choice.reason)
        return getattr(choice, name.removeprefix("program_"))
