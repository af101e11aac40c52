"""Gradients of large dense layers that stay two factors until the ranks of a host sum them."""

import contextlib

import mindspore
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim

# A program copies weights into oneDNN's layout each step: above this size (numbers) a dense layer is left to the
# framework's matrix product, which reads them as they are and is faster.
MOST_WEIGHTS = 8 << 20
# Images up to which making a gradient of factors takes no longer than multiplying and reading it: 4096 x 25088, one
# core of Zen 5, 23 ms of 4 images against 61, 39 of 8 against 57, 85 of 16 against 85.
MOST_ROWS = 16
# Where the weights' sides are multiples of a vector, and not narrow, oneDNN sums over images in their order, as we do;
# else not everywhere, and the bits would differ.
_VECTOR, _NARROW = 16, 64


class FactoredGradients:
    """The dense layers of a network whose weights have gradients that can stay factors: the layer's inputs and the
    gradients of its outputs.

    While a graph is compiled inside `kept()`, the gradient of each of `weights` that it asks for holds the factors,
    where MomentumStep and AdamWStep find them after `take_factors(weights)`, with own=True; nobody else can read it.
    Graphs compiled elsewhere are as they were. rows: of a batch on this rank. Where these are few, those layers
    are taken that have more than `least` weights of their own, trained and in float32, if what comes out has the same
    bits.

    In a network that runs such a layer twice the sum of both gradients is none of factors: the update's node ends the
    step with an error.
    """

    def __init__(self, network, rows, least=MOST_WEIGHTS):
        cells = [cell for _, cell in network.cells_and_names()]
        holders = [id(weight) for cell in cells for weight in cell._params.values()]
        self.layers = [cell for cell in cells if type(cell) is nn.Dense and _pays(cell.weight, rows, least)]
        self.layers = [layer for layer in self.layers if holders.count(id(layer.weight)) == 1]
        self.weights = [layer.weight for layer in self.layers]

    @contextlib.contextmanager
    def kept(self):
        """Context manager: graphs compiled inside keep factors."""
        stock = [layer.matmul for layer in self.layers]
        for layer, product in zip(self.layers, stock):
            layer.__dict__["matmul"] = _Product(product)
        try:
            yield
        finally:
            for layer, product in zip(self.layers, stock):
                layer.__dict__["matmul"] = product


def _pays(weight, rows, least):
    alike = all(side % _VECTOR == 0 and side >= _NARROW for side in weight.shape)
    return alike and weight.requires_grad and weight.size > least and rows <= MOST_ROWS


class _Product(nn.Cell):
    """Returns x weight^T by a layer's own operator, which then knows no gradient of the weight; a cell behind it gives
    that.
    """

    def __init__(self, stock):
        super().__init__(auto_prefix=False)
        self.stock, self.keep = stock, _KeepFactors()

    def construct(self, x, weight):
        return self.keep(ops.stop_gradient(x), self.stock(x, ops.stop_gradient(weight)), weight)


class _KeepFactors(nn.Cell):
    """Returns a layer's outputs. The weight is an argument for its gradient alone: where a `bprop` reads it, the
    framework copies it each step.
    """

    def __init__(self):
        super().__init__(auto_prefix=False)
        symbol = f"{shim()[0]}:cellwright_factored_gradient"
        self.node = ops.Custom(symbol, lambda x, dout: [dout[1], x[1]], _float32, func_type="aot")

    def construct(self, x, out, weight):
        return out

    def bprop(self, x, out, weight, result, dout):
        return x, dout, self.node(x, dout)


def _float32(*dtypes):
    wrong = [str(dtype) for dtype in dtypes if "Float32" not in str(dtype)]
    if wrong:
        raise TypeError(f"factors of {wrong[0]}: only float32 is kept")
    return mindspore.float32
