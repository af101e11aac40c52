"""Gradients of large dense layers that stay two factors until the ranks of a host sum them."""

import contextlib

import mindspore
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim

# Numbers of weights from which on programs leave a dense layer to the framework, and those of both factors that stay
# in a core's cache while the gradient is made of them.
LEAST, MOST_FACTORS = 8 << 20, 1 << 20
# Where the weights' sides are multiples of a vector, and not narrow, oneDNN sums over images in their order, as we do;
# else not everywhere, and the bits would differ.
_VECTOR, _NARROW = 16, 64


class FactoredGradients:
    """The dense layers of a network whose weights have gradients that can stay factors: the layer's inputs and the
    gradients of its outputs.

    While a graph is compiled inside `kept()`, the gradient of each of `weights` that it asks for holds the factors,
    where MomentumStep and AdamWStep find them after `take_factors(weights)`, with own=True; nobody else can read it.
    Graphs compiled elsewhere are as they were. rows: of a batch on this rank. Those layers are taken that have more
    than `least` weights of their own, trained and in float32, and no more than MOST_FACTORS numbers of factors, if
    what comes out has the same bits.

    In a network that runs such a layer twice the sum of both gradients is none of factors: the update's node ends the
    step with an error.
    """

    def __init__(self, network, rows, least=LEAST):
        holders = [id(weight) for _, cell in network.cells_and_names() for weight in cell._params.values()]
        self.weights, self._on = [], False
        for _, cell in network.cells_and_names():
            if type(cell) is nn.Dense and holders.count(id(cell.weight)) == 1 and _pays(cell.weight, rows, least):
                self.weights.append(cell.weight)
                if not isinstance(cell.matmul, _Product):
                    cell.__dict__["matmul"] = _Product(cell.matmul)
                cell.matmul.__dict__["of"] = self

    @contextlib.contextmanager
    def kept(self):
        """Context manager: graphs compiled inside keep factors."""
        self._on = True
        try:
            yield
        finally:
            self._on = False


def _pays(weight, rows, least):
    alike = all(side % _VECTOR == 0 and side >= _NARROW for side in weight.shape)
    return alike and weight.requires_grad and weight.size > least and rows * sum(weight.shape) <= MOST_FACTORS


class _Product(nn.Cell):
    """Returns x weight^T: by the layer's own operator, or by one whose gradient of the weight holds its factors."""

    def __init__(self, stock):
        super().__init__(auto_prefix=False)
        self.stock, self.factored = stock, _FactoredProduct(stock)

    @property
    def keeps_factors(self):
        return self.__dict__["of"]._on

    def construct(self, x, weight):
        if self.keeps_factors:
            return self.factored(x, weight)
        return self.stock(x, weight)


class _FactoredProduct(nn.Cell):
    def __init__(self, stock):
        super().__init__(auto_prefix=False)
        self.stock, self.product = stock, ops.MatMul()
        self.node = ops.Custom(
            f"{shim()[0]}:cellwright_factored_gradient", lambda x, dout: [dout[1], x[1]], _float32, func_type="aot"
        )

    def construct(self, x, weight):
        return self.stock(x, weight)

    def bprop(self, x, weight, out, dout):
        return self.product(dout, weight), self.node(x, dout)


def _float32(*dtypes):
    wrong = [str(dtype) for dtype in dtypes if "Float32" not in str(dtype)]
    if wrong:
        raise TypeError(f"factors of {wrong[0]}: only float32 is kept")
    return mindspore.float32
