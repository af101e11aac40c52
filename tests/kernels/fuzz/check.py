"""Runs a fuzzed network by MindSpore, and judges what comes out against the oracle."""

import contextlib
import dataclasses

import numpy as np
from fuzz.oracle import draw_values, outcome
from mindspore import ParameterTuple, Tensor, nn, ops

from cellwright.kernels.compiler import accelerate, accelerated, replacement

# Of a tensor's norm; of gradients no less than FLOOR of the norm of all of them counts, as some are sums that cancel.
TOLERANCE, FLOOR = 1e-4, 1e-2
# Where rounding alone moves a result by more (a norm over four numbers), so often that much is allowed. One rounding
# may cancel by luck (seed 10277: 4e-5 to 2e-3 from values that differ in the last bit), so it is seen in several.
EXCUSE, ROUNDINGS = 4, 4
SHAPE = 1e30  # the distance of results of another shape


@contextlib.contextmanager
def without_cost_rule():
    """Inside, parts that programs would slow down run on programs too."""
    before = replacement.LEAST_FLOPS_A_NUMBER, replacement.LEAST_FLOPS, replacement.LEAST_LAYERS
    replacement.LEAST_FLOPS_A_NUMBER = replacement.LEAST_FLOPS = replacement.LEAST_LAYERS = 0
    try:
        yield
    finally:
        replacement.LEAST_FLOPS_A_NUMBER, replacement.LEAST_FLOPS, replacement.LEAST_LAYERS = before


@dataclasses.dataclass(frozen=True)
class Verdict:
    """accelerated: how many cells programs ran. wrong: name -> (distance, allowed), or {"raised": text}."""

    accelerated: int
    wrong: dict
    nearest: float

    @property
    def sort(self):
        """What kind of failure it is: two networks with the same one may well have the same cause."""
        if "raised" in self.wrong:
            return self.wrong["raised"][:60]
        if any(distance == SHAPE for distance, _ in self.wrong.values()):
            return "shape"
        results = any(name.startswith(("evaluation", "training")) for name in self.wrong)
        return "results" if results else "gradients" if self.wrong else ""


class Step(nn.Cell):
    """The results, and the gradients of the input and of the parameters of the sums of result * weights."""

    def __init__(self, network, weights, parameters):
        super().__init__(auto_prefix=False)
        self.network, self.weights = network, weights
        self.gradient = ops.value_and_grad(self.loss, 0, ParameterTuple(parameters) if parameters else None, True)

    def loss(self, x):
        results = self.network(x)
        if isinstance(results, Tensor):
            results = (results,)
        total = 0.0
        for y, weights in zip(results, self.weights):
            total = total + (y * weights).sum()
        return total, results

    def construct(self, x):
        return self.gradient(x)


@without_cost_rule()
def run(network, values, fast):
    """Returns what MindSpore computes, by name as in the oracle, and the count of accelerated cells."""
    cell = network.build()
    own = {parameter.name: parameter for parameter in cell.get_parameters()}
    assert set(own) == set(values.arrays) - {"x"}, set(own) ^ (set(values.arrays) - {"x"})
    for name, parameter in own.items():
        parameter.set_data(Tensor(values.arrays[name]))
    network.set_train(cell, True)
    count = 0
    if fast:
        accelerate(cell)
        count = len(accelerated(cell))
        if not count:
            return None, 0
    x = Tensor(values.arrays["x"])
    network.set_train(cell, False)
    results = cell(x)
    results = [results] if isinstance(results, Tensor) else results
    found = {f"evaluation {k}": result for k, result in enumerate(results)}
    network.set_train(cell, True)
    trained = [parameter for parameter in cell.get_parameters() if parameter.requires_grad]
    (_, results), gradients = Step(cell, tuple(map(Tensor, values.weights)), trained)(x)
    found |= {f"training {k}": result for k, result in enumerate(results)}
    found["gradient of x"], rest = gradients if trained else (gradients, ())
    found.update((f"gradient of {parameter.name}", gradient) for parameter, gradient in zip(trained, rest))
    found.update((name, parameter) for name, parameter in own.items() if ".moving_" in name)
    return {name: tensor.asnumpy().astype(np.float64) for name, tensor in found.items()}, count


def distances(expected, found):
    """Returns how far each result is off, relative to its norm."""
    gradients = [array for name, array in expected.items() if name.startswith("gradient")]
    floor = FLOOR * np.sqrt(sum(np.sum(array**2) for array in gradients) / max(1, len(gradients)))
    assert set(expected) == set(found), set(expected) ^ set(found)
    off = {}
    for name, array in expected.items():
        if array.shape != found[name].shape:
            off[name] = SHAPE
            continue
        size = max(np.linalg.norm(array), floor if name.startswith("gradient") else 1e-3)
        distance = np.linalg.norm(array - found[name]) / max(size, 1e-30)
        off[name] = float(distance) if np.isfinite(distance) else 1e29
    return off


def neighbours(values):
    """Yields ROUNDINGS Values that differ from these in the last bit."""
    draw = np.random.default_rng(1)
    for _ in range(ROUNDINGS):
        arrays = {
            name: array * (1 + draw.uniform(-1, 1, array.shape) * np.finfo(np.float32).eps).astype(np.float32)
            for name, array in values.arrays.items()
        }
        yield dataclasses.replace(values, arrays=arrays)


def rounding(network, values):
    """Returns how far the oracle's own results in float32 are off."""
    return distances(outcome(network, values), outcome(network, values, np.float32))


def check(network, stock=False):
    """Returns the Verdict of a network: what its accelerated form computes otherwise than the oracle.

    Where there is a difference, stock operators and the oracle in float32 say how much of it is rounding. stock: judge
    stock operators instead.
    """
    values = draw_values(network)
    expected = outcome(network, values)
    try:
        found, count = run(network, values, not stock)
    except Exception as error:  # whatever a wrong program does
        return Verdict(1, {"raised": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}, values.nearest)
    if found is None:
        return Verdict(0, {}, values.nearest)
    off = distances(expected, found)
    if max(off.values()) <= TOLERANCE:
        return Verdict(count, {}, values.nearest)
    noises = [rounding(network, moved) for moved in (values, *neighbours(values))]
    if not stock:
        noises.append(distances(expected, run(network, values, False)[0]))
    allowed = {name: max(TOLERANCE, *(EXCUSE * noise[name] for noise in noises)) for name in off}
    return Verdict(
        count, {name: (off[name], allowed[name]) for name in off if off[name] > allowed[name]}, values.nearest
    )
