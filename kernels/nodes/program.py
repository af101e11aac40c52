"""Programs as nodes of a graph: evaluation, training forward, and the gradients of parameters and input."""

import mindspore
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim

EVALUATION, FORWARD, INPUT_GRADIENT, BACKWARD = range(4)  # the parts of the backward have numbers from BACKWARD on

plans = {}  # address of a program, which lasts as long as the process -> (direction, shape, stages), for a profile


def _node(family, direction, out_shape, outputs):
    """The operator that runs one direction of a family."""
    path, _ = shim()

    def dtypes(*inputs):
        if "Float32" not in str(inputs[1]):
            raise TypeError(f"inputs of {inputs[1]}: programs compute in float32")
        return inputs[1] if outputs == 1 else (inputs[1],) * outputs

    return ops.Custom(f"{path}:cellwright_program", out_shape, dtypes, func_type="aot")


class EvaluationNode(nn.Cell):
    def __init__(self, family):
        super().__init__()
        self.key = mindspore.Tensor([family.keys[EVALUATION]], mindspore.int64)

        def out_shape(*shapes):
            return family.output_shape(tuple(shapes[1]))

        self.node = _node(family, EVALUATION, out_shape, 1)

    def construct(self, x, trainable, statistics):
        return self.node(self.key, x, *trainable, *statistics)


class BackwardNode(nn.Cell):
    """Returns the gradients of the parameters of a part and of all parts after it, which are those of earlier layers."""

    def __init__(self, family, part=0):
        super().__init__()
        self.key = mindspore.Tensor([family.keys[BACKWARD + part]], mindspore.int64)
        first = 4 + sum(map(len, family.parts[part + 1 :]))
        end = first + len(family.parts[part])
        self.single, self.last = end - first == 1, part + 1 == len(family.parts)

        def out_shape(*shapes):
            own = [list(shape) for shape in shapes[first:end]]
            return own[0] if len(own) == 1 else tuple(own)

        self.node = _node(family, BACKWARD + part, out_shape, end - first)
        # A chain of cells: the compiler does not take a loop on the backward (MindSpore 2.10).
        self.rest = None if self.last else BackwardNode(family, part + 1)

    def construct(self, x, dout, tape, trainable, after):
        own = self.node(self.key, x, dout, tape, *trainable, *after)
        if self.single:
            own = (own,)
        if self.last:
            return own
        return self.rest(x, dout, tape, trainable, (own[0],)) + own


class TrainingNode(nn.Cell):
    """Returns the result and the tape; the gradient of the input is another node, which is dropped where nobody asks for it."""

    def __init__(self, family):
        super().__init__()
        self.forward_key, self.input_key = (
            mindspore.Tensor([family.keys[direction]], mindspore.int64) for direction in (FORWARD, INPUT_GRADIENT)
        )

        def forward_shape(*shapes):
            shape = tuple(shapes[1])
            return family.output_shape(shape), [family.tape(shape)]

        def input_shape(*shapes):
            return list(shapes[1])

        self.forward = _node(family, FORWARD, forward_shape, 2)
        # It moves the moving statistics: whatever reads or sets them keeps its place before or after.
        self.forward.add_prim_attr("side_effect_mem", True)
        self.backward = BackwardNode(family)
        self.input_gradient = _node(family, INPUT_GRADIENT, input_shape, 1)

    def construct(self, x, trainable, statistics):
        return self.forward(self.forward_key, x, *trainable, *statistics)

    def bprop(self, x, trainable, statistics, out, dout):
        gradients = self.backward(x, dout[0], out[1], trainable, ())
        input_gradient = self.input_gradient(self.input_key, x, dout[0], out[1], *trainable)
        return input_gradient, gradients, statistics
