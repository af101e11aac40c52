"""Finds the first layer of a network whose output is not finite."""

import contextlib

import mindspore as ms
import numpy as np
from mindspore import Parameter, Tensor, nn, ops

from cellwright.engine.step.gradients import GradientGraph
from cellwright.engine.step.nested_batch import as_input, as_tensor, map_leaves
from cellwright.engine.step.programs import loaded_compiler
from cellwright.engine.step.statistics import Statistics

NOWHERE = "nowhere: the step is finite"


class Probe(nn.Cell):
    """A layer that also writes down (turn, is its input finite, is its output finite) when it runs."""

    def __init__(self, cell, turns, number):
        super().__init__(auto_prefix=False)
        self.inner, self.turns = cell, turns
        self.seen = Parameter(Tensor([0, 1, 1], ms.int32), name=f"probe{number}", requires_grad=False)

    def construct(self, x):
        y = self.inner(x)
        turn = ops.assign_add(self.turns, Tensor(1, ms.int32))
        flags = (ops.cast(ops.isfinite(x).all(), ms.int32), ops.cast(ops.isfinite(y).all(), ms.int32))
        ops.assign(self.seen, ops.stack((ops.reshape(turn, ()),) + flags))
        return y


class ProbedForward(nn.Cell):
    """Returns the loss of a batch; the probes within the network take their notes."""

    def __init__(self, forward):
        super().__init__(auto_prefix=False)
        self.forward = forward

    @ms.jit
    def construct(self, batch):
        loss, _ = self.forward(*batch)
        return loss


@contextlib.contextmanager
def probes(network):
    """Context manager: inside, each innermost cell of the network is a Probe; yields {layer name: Probe}."""
    turns = Parameter(Tensor(0, ms.int32), name="probe_turns", requires_grad=False)
    found, undo = {}, []

    def visit(cell, path):
        for name, child in list(cell.name_cells().items()):
            layer = f"{path}.{name}".lstrip(".").removesuffix(".inner")
            if child.name_cells():
                visit(child, layer)
                continue
            found[layer] = cell._cells[name] = Probe(child, turns, len(found))
            undo.append((cell, name, child))
        _refresh(cell)

    visit(network, "")
    try:
        yield found
    finally:
        for cell, name, child in undo:
            cell._cells[name] = child
            _refresh(cell)


@contextlib.contextmanager
def stock_cells(network):
    """Context manager: inside, parts of the network that run as one kernel are their own layers again."""
    compiler = loaded_compiler()
    fused = compiler is not None and compiler.accelerated(network)
    if fused:
        compiler.restore(network)
    try:
        yield
    finally:
        if fused:
            compiler.accelerate(network)
            _, half, float32_cells, _ = getattr(network, "precision", None) or (None, "float32", (), ())
            if half == "bfloat16":
                compiler.store_in(network, half, float32_cells)


def _refresh(cell):
    if isinstance(cell, nn.SequentialCell):
        cell.cell_list = tuple(cell._cells.values())


def first_nonfinite(step, batch) -> str:
    """Returns one line that names where a batch first stops being finite in a TrainOneStep's network.

    batch: a tuple, as the step's forward takes it. Looked for in this order: the outputs of the layers as the forward
    pass runs them, the loss, the gradients from the last parameter to the first. Compiles the network twice more, so it
    takes as long as the start of the run did.
    """
    statistics = Statistics(step.statistics)
    kept = statistics.flat()
    batch = as_input(map_leaves(as_tensor, batch))
    try:
        with stock_cells(step.network), probes(step.network) as found:
            forward = ProbedForward(step.forward)
            forward.phase = "train"
            loss = forward(batch).asnumpy()
            notes = sorted((*probe.seen.asnumpy().tolist(), layer) for layer, probe in found.items())
        for turn, finite_in, finite_out, layer in notes:
            if turn and not finite_in:
                return f"input of layer {layer}"
            if turn and not finite_out:
                return f"output of layer {layer}"
        if not np.isfinite(loss):
            return "loss"
        return _nonfinite_gradient(step, batch)
    finally:
        statistics.load(kept)


def _nonfinite_gradient(step, batch):
    _, gradients = GradientGraph(step.forward, step.optimizer.params)(batch, step.update.scale.value)
    for parameter, gradient in reversed(list(zip(step.optimizer.params, gradients))):
        if not np.isfinite(gradient.asnumpy()).all():
            return f"gradient of {parameter.name}, at loss scale {float(step.update.scale.value.asnumpy()):g}"
    return NOWHERE
