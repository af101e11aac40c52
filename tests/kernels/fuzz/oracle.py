"""What a fuzzed network computes, in plain numpy: output, gradients of input and parameters, moving statistics."""

import dataclasses

import numpy as np
import numpy_tape as tape
from fuzz.layers import KINDS

# An activation this near to a kink (of its map's root mean square) may fall on the other side of it in float32, and a
# whole pixel's gradient with it. Parameters and images are drawn again until none is, see `draw_values`.
NEAR = 2e-5
_DRAWS = 12


class Run:
    """One pass: the parameters as nodes, the mode, and how near the maps came to a kink."""

    def __init__(self, values, training, dtype):
        self.nodes = {name: tape.Node(array.astype(dtype)) for name, array in values.items()}
        self.training, self.nearest, self.prefix = training, np.inf, ""

    def __getitem__(self, role):
        return self.nodes[self.prefix + role]

    def get(self, role):
        return self.nodes.get(self.prefix + role)

    def margin(self, distances, values):
        if distances.size:
            size = np.sqrt(np.mean(np.square(values, dtype=np.float64))) + 1e-30
            self.nearest = min(self.nearest, float(distances.min() / size))

    def forward(self, network):
        """Returns the nodes of the results."""
        x = self.nodes["x"]
        for b, block in enumerate(network.blocks):
            results = [x]
            for k, one in enumerate(block):
                self.prefix = f"b{b}.s{k if one.again is None else one.again}."
                results.append(KINDS[one.kind].compute(one, [results[source] for source in one.sources], self))
            x = results[-1]
        return [results[k] for k in network.outputs()]


@dataclasses.dataclass(frozen=True)
class Values:
    """Everything that a network is given."""

    arrays: dict  # parameters by name, and the images `x`
    weights: list  # by which the outputs are summed up to a loss
    nearest: float  # the least distance from a kink


def draw_values(network):
    """Returns the Values of a network: of a few draws the first that keeps away from kinks, or the best."""
    best = None
    for attempt in range(_DRAWS):
        draw = np.random.default_rng([network.seed, attempt])
        arrays = {"x": draw.normal(size=network.shape)}
        for name, shape, role, _ in network.parameters():
            if role in ("gamma", "moving_variance"):
                values = draw.uniform(0.5, 1.5, shape)
            elif role == "w":
                values = draw.uniform(0.1, 0.4, shape)
            else:
                scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.2
                values = draw.normal(0, scale, shape)
            arrays[name] = values
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
        shapes = [network.shapes()[-1][k] for k in network.outputs()]
        weights = [draw.normal(size=shape).astype(np.float32) for shape in shapes]
        nearest = np.inf
        for training in (True, False):
            run = Run(arrays, training, np.float64)
            run.forward(network)
            nearest = min(nearest, run.nearest)
        if best is None or nearest > best.nearest:
            best = Values(arrays, weights, nearest)
        if best.nearest > NEAR:
            break
    return best


def outcome(network, values, dtype=np.float64):
    """Returns everything that a network computes, as arrays by name; parameters without a gradient have none."""
    run = Run(values.arrays, False, dtype)
    found = {f"evaluation {k}": node.value for k, node in enumerate(run.forward(network))}
    # A norm that always takes the batch's statistics moves the moving ones in evaluation too.
    moved = {name: node.value for name, node in run.nodes.items() if ".moving_" in name}
    run = Run(values.arrays | moved, True, dtype)
    results = run.forward(network)
    found |= {f"training {k}": node.value for k, node in enumerate(results)}
    weights = [array.astype(dtype) for array in values.weights]
    tape.backward(tape.Node(0.0, results, lambda _: weights), 1.0)
    found["gradient of x"] = _gradient(run.nodes["x"])
    for name, _, role, one in network.parameters():
        if role.startswith("moving_"):
            found[name] = run.nodes[name].value
        elif not one.frozen:
            found["gradient of " + name] = _gradient(run.nodes[name])
    return found


def _gradient(node):
    return np.zeros_like(node.value) if node.grad is None else node.grad
