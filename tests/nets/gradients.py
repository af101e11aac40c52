"""Runs a network as a compiled graph, forward and backward."""

import mindspore as ms
from mindspore import nn


class WeightedSum(nn.Cell):
    """The sum of a network's logits times constants: a scalar that every logit takes part in."""

    def __init__(self, network, constants):
        super().__init__(auto_prefix=False)
        self.network = network
        self.constants = ms.Tensor(constants)

    def construct(self, x):
        logits = self.network(x)
        return (logits * self.constants).sum(), logits


def forward_and_gradients(network, images, constants):
    """Returns (logits, dict of each parameter's gradient, gradient of the images), arrays."""
    parameters = list(network.trainable_params())
    step = ms.value_and_grad(WeightedSum(network, constants), 0, parameters, has_aux=True)
    (_, logits), (image_gradient, gradients) = step(ms.Tensor(images))
    return (
        logits.asnumpy(),
        {p.name: g.asnumpy() for p, g in zip(parameters, gradients)},
        image_gradient.asnumpy(),
    )
