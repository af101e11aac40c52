"""Every network, forward and backward, against the same network in numpy and float64 with the same weights."""

import float64_layers
import numpy as np
import numpy_tape as tape
import oracle_nets
import pytest
from gradients import forward_and_gradients
from mindspore import Tensor

from cellwright.nets import create_network

# Two or three layers for each kind of block: all kinds of layers are there, and rounding has not far to grow.
CASES = {
    "densenet121": (oracle_nets.densenet, {"blocks": (2, 1, 1, 2)}, {}),
    "densenet121 avg": (oracle_nets.densenet, {"blocks": (2, 1, 1, 2), "transition": "avg"}, {}),
    "densenet121 recompute": (oracle_nets.densenet, {"blocks": (2, 1, 1, 2)}, {"recompute": True}),
    "tinydarknet": (oracle_nets.tinydarknet, {}, {}),
    "genet theta plus": (oracle_nets.genet, {"extra": True, "mlp": True, "stages": (1, 1, 1, 1)}, {}),
    "genet theta": (oracle_nets.genet, {"extra": True, "mlp": False, "stages": (1, 1, 1, 1)}, {}),
    "genet theta single": (
        oracle_nets.genet,
        {"extra": True, "mlp": False, "gather": "single", "stages": (1, 1, 1, 1)},
        {},
    ),
    "genet theta minus": (oracle_nets.genet, {"extra": False, "mlp": False, "stages": (2, 1, 1, 1)}, {}),
    "genet mlp alone": (oracle_nets.genet, {"extra": False, "mlp": True, "stages": (1, 1, 1, 1)}, {}),
    "vgg16 cifar10": (oracle_nets.vgg16, {"batch_norm": True}, {"hidden": 64}),
    "vgg16 imagenet": (oracle_nets.vgg16, {"batch_norm": False}, {"hidden": 64, "has_dropout": False}),
}
CLASSES = 7
# Rounding in float32 moves what a ReLU gets by some 1e-7 to 1e-6 of its size.
SAFE_MARGIN = 2e-6


def image_shape(case):
    """Small images keep few values near a kink; a BN of few pixels has a gradient that is the rest of near equals."""
    return {"vgg16": (2, 3, 32, 32), "genet": (8, 3, 16, 16)}.get(case.split()[0], (8, 3, 32, 32))


def relative_error(found, wanted, least=0.0):
    return np.linalg.norm(found - wanted) / max(np.linalg.norm(wanted), least)


def disturb(network, random):
    """Moves what starts at 0 or 1, so that a mixed-up gamma, beta or statistic shows.

    Betas and biases lie two to three deviations off 0, on either side, so that few of what a ReLU gets is
    near its kink.
    """
    gammas = {}
    for p in network.get_parameters():
        if p.name.endswith(("gamma", "moving_variance")):
            gammas[p.name] = random.uniform(0.5, 1.5, p.shape)
            p.set_data(Tensor(gammas[p.name].astype(np.float32)))
        elif p.name.endswith("moving_mean"):
            p.set_data(Tensor(random.normal(0, 0.2, p.shape).astype(np.float32)))
    for p in network.get_parameters():
        if p.name.endswith(("beta", "bias")):
            off = random.uniform(2, 3, p.shape) * random.choice((-1, 1), p.shape)
            p.set_data(Tensor((off * gammas.get(p.name.replace("beta", "gamma"), 1)).astype(np.float32)))


def away_from_kinks(network, shape, written_again, settings):
    """Draws weights and images until no ReLU or max pool is so near its kink that rounding decides; returns both."""
    for seed in range(200):
        random = np.random.default_rng(seed)
        disturb(network, random)
        arrays = {p.name: p.asnumpy().copy() for p in network.get_parameters()}
        images = random.normal(0, 1, shape).astype(np.float32)
        float64_layers.margins.clear()
        written_again(oracle_nets.Weights(arrays, training=True), tape.Node(images.astype(np.float64)), **settings)
        if min(float64_layers.margins) > SAFE_MARGIN:
            return arrays, images
    raise AssertionError(f"no seed keeps all margins above {SAFE_MARGIN}")


@pytest.mark.parametrize("case", CASES)
def test_forward_backward_and_moving_statistics(case):
    written_again, shared, own = CASES[case]
    shape = image_shape(case)
    network = create_network(case.split()[0], CLASSES, shape[2], **shared, **own)
    before, images = away_from_kinks(network, shape, written_again, shared)
    constants = np.random.default_rng(5).normal(0, 1, (len(images), CLASSES)).astype(np.float32)

    network.set_train(True)
    logits, gradients, image_gradient = forward_and_gradients(network, images, constants)
    weights, x = oracle_nets.Weights(before, training=True), tape.Node(images.astype(np.float64))
    wanted = written_again(weights, x, **shared)
    tape.backward(wanted, constants)
    # A beta in front of a gather and its BN changes nothing: such a gradient is 0, and its rounding is
    # measured by the others.
    least = 0.1 * np.median([np.linalg.norm(weights[name].grad) for name in gradients])
    errors = {name: relative_error(g, weights[name].grad, least) for name, g in gradients.items()}
    errors["logits"] = relative_error(logits, wanted.value)
    errors["images"] = relative_error(image_gradient, x.grad)
    after = {p.name: p.asnumpy() for p in network.get_parameters()}
    errors.update({name: relative_error(after[name], value) for name, value in weights.moved.items()})
    assert max(errors.values()) <= 1e-4, sorted(errors.items(), key=lambda item: -item[1])[:5]
    assert set(weights.moved) == {name for name in before if "moving" in name}

    network.set_train(False)
    evaluated = network(Tensor(images)).asnumpy()
    wanted = written_again(oracle_nets.Weights(after, training=False), tape.Node(images.astype(np.float64)), **shared)
    assert relative_error(evaluated, wanted.value) <= 1e-4
