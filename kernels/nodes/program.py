"""Programs as nodes of a graph: evaluation, training forward, and the gradients of parameters and input."""

import mindspore
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim

EVALUATION, FORWARD, INPUT_GRADIENT, BACKWARD = range(4)  # the parts of the backward have numbers from BACKWARD on

plans = {}  # address of a program -> (phase, shape, what gives its operations), for a profile


def _node(programs, direction, out_shape, outputs):
    """The operator that runs one direction of a program set."""
    path, _ = shim()

    def dtypes(*inputs):
        if "Float32" not in str(inputs[1]):
            raise TypeError(f"inputs of {inputs[1]}: programs compute in float32")
        return inputs[1] if outputs == 1 else (inputs[1],) * outputs

    return ops.Custom(f"{path}:cellwright_program", out_shape, dtypes, func_type="aot")


class EvaluationNode(nn.Cell):
    """Returns the result, by moving statistics."""

    def __init__(self, programs):
        super().__init__()
        self.key = mindspore.Tensor([programs.keys[EVALUATION]], mindspore.int64)

        def out_shape(*shapes):
            return programs.output_shape(tuple(shapes[1]))

        self.node = _node(programs, EVALUATION, out_shape, 1)

    def construct(self, x, trainable, statistics):
        return self.node(self.key, x, *trainable, *statistics)


class BackwardNode(nn.Cell):
    """Returns the gradients of the parameters of a part and of all parts after it, which are those of earlier layers.

    If there are several parts, the first one gives its work memory too, in which the others go on one after the other.
    """

    def __init__(self, programs, part=0):
        super().__init__()
        self.key = mindspore.Tensor([programs.keys[BACKWARD + part]], mindspore.int64)
        first = 4 + sum(map(len, programs.parts[part + 1 :]))
        end = first + len(programs.parts[part])
        self.first, self.last = part == 0, part + 1 == len(programs.parts)
        hands_on = self.first and not self.last
        self.single = end - first + hands_on == 1

        def out_shape(*shapes):
            own = [list(shape) for shape in shapes[first:end]]
            if hands_on:
                own.append([programs.work_floats(tuple(shapes[1]))])
            return own[0] if len(own) == 1 else tuple(own)

        self.node = _node(programs, BACKWARD + part, out_shape, end - first + hands_on)
        # A chain of cells: the compiler does not take a loop on the backward (MindSpore 2.10).
        self.rest = None if self.last else BackwardNode(programs, part + 1)

    def construct(self, x, dout, saved, trainable, work):
        own = self.node(self.key, x, dout, saved, *trainable, *work)
        if self.single:
            own = (own,)
        if self.last:
            return own
        if self.first:
            return self.rest(x, dout, saved, trainable, (own[-1],)) + own[:-1]
        # The next part reads what this one has left in the work memory: it waits for one of its gradients.
        work = ops.depend(work[0], own[0])
        return self.rest(x, dout, saved, trainable, (work,)) + own


class TrainingNode(nn.Cell):
    """Returns the result and the saved tensors; the gradient of the input is another node, dropped where nobody asks
    for it.
    """

    def __init__(self, programs):
        super().__init__()
        self.forward_key, self.input_key = (
            mindspore.Tensor([programs.keys[direction]], mindspore.int64) for direction in (FORWARD, INPUT_GRADIENT)
        )

        def forward_shape(*shapes):
            shape = tuple(shapes[1])
            return programs.output_shape(shape), [programs.saved_floats(shape)]

        def input_shape(*shapes):
            return list(shapes[1])

        self.forward = _node(programs, FORWARD, forward_shape, 2)
        # It moves the moving statistics: whatever reads or sets them keeps its place before or after.
        self.forward.add_prim_attr("side_effect_mem", True)
        self.backward = BackwardNode(programs)
        self.input_gradient = _node(programs, INPUT_GRADIENT, input_shape, 1)

    def construct(self, x, trainable, statistics):
        return self.forward(self.forward_key, x, *trainable, *statistics)

    def bprop(self, x, trainable, statistics, out, dout):
        gradients = self.backward(x, dout[0], out[1], trainable, ())
        input_gradient = self.input_gradient(self.input_key, x, dout[0], out[1], *trainable)
        return input_gradient, gradients, statistics
