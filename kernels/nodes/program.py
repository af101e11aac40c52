"""Programs as nodes of a graph: evaluation, training forward, and the gradients of parameters and input."""

import mindspore
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim

EVALUATION, FORWARD, INPUT_GRADIENT, BACKWARD = range(4)  # the parts of the backward have numbers from BACKWARD on

plans = {}  # address of a program -> (phase, shape, what gives its operations), for a profile


def _node(programs, direction, out_shape, outputs):
    """The operator that runs one direction of a program set.

    When it is compiled its program is made, so that whatever fails does so then, with its reason.
    """
    path, _ = shim()

    def shapes_and_program(*shapes):
        shape = tuple(shapes[1])
        programs.output_shape(shape)
        programs.build(direction, shape)
        return out_shape(*shapes)

    def dtypes(*inputs):
        if "Float32" not in str(inputs[1]):
            raise TypeError(f"inputs of {inputs[1]}: programs compute in float32")
        return inputs[1] if outputs == 1 else (inputs[1],) * outputs

    node = ops.Custom(f"{path}:cellwright_program", shapes_and_program, dtypes, func_type="aot")
    # Without a graph the framework takes two operators of one name, equal inputs and attributes for the same one.
    return node.add_prim_attr("program", str(programs.keys[direction]))


def _key(programs, direction):
    return mindspore.Tensor([programs.keys[direction]], mindspore.int64)


class ForwardNode(nn.Cell):
    """Returns the result and the saved tensors."""

    def __init__(self, programs):
        super().__init__()
        self.key = _key(programs, FORWARD)

        def out_shape(*shapes):
            shape = tuple(shapes[1])
            return programs.output_shape(shape), [programs.saved_floats(shape)]

        self.node = _node(programs, FORWARD, out_shape, 2)
        if programs.moves_statistics:  # whatever reads or sets them keeps its place before or after
            self.node.add_prim_attr("side_effect_mem", True)

    def construct(self, x, trainable, frozen, statistics):
        return self.node(self.key, x, *trainable, *frozen, *statistics)


class BackwardNode(nn.Cell):
    """Returns the gradients of the parameters of a part and of all parts after it, which are those of earlier layers.

    The last part gives the gradient of the input as well, before the others, if the programs have it there. If
    there are several parts, the first one gives its work memory too, in which the others go on one after the
    other.
    """

    def __init__(self, programs, part=0):
        super().__init__()
        self.key = _key(programs, BACKWARD + part)
        first = 4 + sum(map(len, programs.parts[part + 1 :]))
        end = first + len(programs.parts[part])
        self.first, self.last = part == 0, part + 1 == len(programs.parts)
        gives_input = self.last and programs.together
        hands_on = self.first and not self.last
        outputs = end - first + gives_input + hands_on
        self.single = outputs == 1

        def out_shape(*shapes):
            own = [list(shapes[1])] if gives_input else []
            own += [list(shape) for shape in shapes[first:end]]
            if hands_on:
                own.append([programs.work_floats(tuple(shapes[1]))])
            return own[0] if len(own) == 1 else tuple(own)

        self.node = _node(programs, BACKWARD + part, out_shape, outputs)
        # A chain of cells: the compiler does not take a loop on the backward (MindSpore 2.10).
        self.rest = None if self.last else BackwardNode(programs, part + 1)

    def construct(self, x, dout, saved, trainable, frozen, work):
        own = self.node(self.key, x, dout, saved, *trainable, *frozen, *work)
        if self.single:
            own = (own,)
        if self.last:
            return own
        if self.first:
            return self.rest(x, dout, saved, trainable, frozen, (own[-1],)) + own[:-1]
        # The next part goes on in the work memory when this one is done.
        work = ops.depend(work[0], own[0])
        return self.rest(x, dout, saved, trainable, frozen, (work,)) + own


class InputGradientNode(nn.Cell):
    """Returns the gradient of the input alone."""

    def __init__(self, programs):
        super().__init__()
        self.key = _key(programs, INPUT_GRADIENT)
        self.node = _node(programs, INPUT_GRADIENT, lambda *shapes: list(shapes[1]), 1)

    def construct(self, x, dout, saved, trainable, frozen):
        return self.node(self.key, x, dout, saved, *trainable, *frozen)


class Gradients(nn.Cell):
    """Returns the gradient of the input and those of the trainable parameters.

    They come from one node, or from one each, of which the framework drops what nobody asks for.
    """

    def __init__(self, programs):
        super().__init__()
        self.together, self.trains = programs.together, bool(programs.trainable)
        self.backward = BackwardNode(programs) if self.trains else None
        self.input_gradient = None if self.together and self.trains else InputGradientNode(programs)

    def construct(self, x, dout, saved, trainable, frozen):
        if not self.trains:
            return self.input_gradient(x, dout, saved, trainable, frozen), ()
        found = self.backward(x, dout, saved, trainable, frozen, ())
        if self.together:
            return found[0], found[1:]
        return self.input_gradient(x, dout, saved, trainable, frozen), found


class TrainingNode(nn.Cell):
    """Returns the result, and the saved tensors that its gradient needs."""

    def __init__(self, programs):
        super().__init__()
        self.forward, self.gradients = ForwardNode(programs), Gradients(programs)

    def construct(self, x, trainable, frozen, statistics):
        return self.forward(x, trainable, frozen, statistics)

    def bprop(self, x, trainable, frozen, statistics, out, dout):
        input_gradient, gradients = self.gradients(x, dout[0], out[1], trainable, frozen)
        return input_gradient, gradients, frozen, statistics


class EvaluationNode(nn.Cell):
    """Returns the result, by moving statistics; where a gradient is asked for, the training forward runs for it,
    too.
    """

    def __init__(self, programs):
        super().__init__()
        self.key = _key(programs, EVALUATION)
        self.node = _node(programs, EVALUATION, lambda *shapes: programs.output_shape(tuple(shapes[1])), 1)
        self.forward, self.gradients = ForwardNode(programs), Gradients(programs)

    def construct(self, x, trainable, frozen, statistics):
        return (self.node(self.key, x, *trainable, *frozen, *statistics),)

    def bprop(self, x, trainable, frozen, statistics, out, dout):
        saved = self.forward(x, trainable, frozen, statistics)[1]
        input_gradient, gradients = self.gradients(x, dout[0], saved, trainable, frozen)
        return input_gradient, gradients, frozen, statistics
