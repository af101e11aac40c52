"""Programs as nodes of a graph: evaluation, training forward, and the gradients of parameters and inputs."""

import mindspore
from mindspore import nn, ops

from cellwright.kernels.csrc.shim import shim

EVALUATION, FORWARD, INPUT_GRADIENT, BACKWARD = range(4)  # the parts of the backward have numbers from BACKWARD on

plans = {}  # address of a program -> (phase, shape, what gives its operations), for a profile


def _node(programs, direction, out_shapes, count):
    """The operator that runs one direction of a program set.

    out_shapes: called with the shapes of the network's inputs and with those of all tensors, returns those of the
    results, `count` of them. When it is compiled its program is made, so that whatever fails does so then, with its
    reason.
    """
    path, _ = shim()

    def shapes_and_program(*shapes):
        images = [tuple(shape) for shape in shapes[1 : 1 + programs.inputs]]
        programs.output_shapes(*images)
        programs.build(direction, *images)
        found = [list(shape) for shape in out_shapes(images, shapes)]
        return found[0] if count == 1 else tuple(found)

    def dtypes(*given):
        for dtype in given[1 : 1 + programs.inputs]:
            if "Float32" not in str(dtype):
                raise TypeError(f"inputs of {dtype}: programs compute in float32")
        return given[1] if count == 1 else (given[1],) * count

    node = ops.Custom(f"{path}:cellwright_program", shapes_and_program, dtypes, func_type="aot")
    # Without a graph the framework takes two operators of one name, equal inputs and attributes for the same one.
    return node.add_prim_attr("program", str(programs.keys[direction]))


def _key(programs, direction):
    return mindspore.Tensor([programs.keys[direction]] * programs.inputs, mindspore.int64)


class ForwardNode(nn.Cell):
    """Returns the outputs and, as the last one, the saved tensors."""

    def __init__(self, programs):
        super().__init__()
        self.key = _key(programs, FORWARD)

        def out_shapes(images, shapes):
            return *programs.output_shapes(*images), [programs.saved_floats(*images)]

        self.node = _node(programs, FORWARD, out_shapes, programs.outputs + 1)
        if programs.moves_statistics:  # whatever reads or sets them keeps its place before or after
            self.node.add_prim_attr("side_effect_mem", True)

    def construct(self, inputs, trainable, frozen, statistics):
        return self.node(self.key, *inputs, *trainable, *frozen, *statistics)


class BackwardNode(nn.Cell):
    """Returns the gradients of the parameters of a part and of all parts after it, which are those of earlier layers.

    The last part gives the gradients of the inputs as well, before the others, if the programs have them there. If
    there are several parts, the first one gives its work memory too, in which the others go on one after the
    other.
    """

    def __init__(self, programs, part=0):
        super().__init__()
        self.key = _key(programs, BACKWARD + part)
        first = 2 + programs.inputs + programs.outputs + sum(map(len, programs.parts[part + 1 :]))
        end = first + len(programs.parts[part])
        self.first, self.last = part == 0, part + 1 == len(programs.parts)
        gives_inputs = programs.inputs * (self.last and programs.together)
        hands_on = self.first and not self.last

        def out_shapes(images, shapes):
            work = [[programs.work_floats(*images)]] if hands_on else []
            return [*images[:gives_inputs], *shapes[first:end], *work]

        count = end - first + gives_inputs + hands_on
        self.single = count == 1
        self.node = _node(programs, BACKWARD + part, out_shapes, count)
        # A chain of cells: the compiler does not take a loop on the backward (MindSpore 2.10).
        self.rest = None if self.last else BackwardNode(programs, part + 1)

    def construct(self, inputs, douts, saved, trainable, frozen, work):
        own = self.node(self.key, *inputs, *douts, saved, *trainable, *frozen, *work)
        if self.single:
            own = (own,)
        if self.last:
            return own
        if self.first:
            return self.rest(inputs, douts, saved, trainable, frozen, (own[-1],)) + own[:-1]
        # The next part goes on in the work memory when this one is done.
        work = ops.depend(work[0], own[0])
        return self.rest(inputs, douts, saved, trainable, frozen, (work,)) + own


class InputGradientNode(nn.Cell):
    """Returns the gradients of the inputs alone."""

    def __init__(self, programs):
        super().__init__()
        self.key, self.single = _key(programs, INPUT_GRADIENT), programs.inputs == 1
        self.node = _node(programs, INPUT_GRADIENT, lambda images, shapes: images, programs.inputs)

    def construct(self, inputs, douts, saved, trainable, frozen):
        found = self.node(self.key, *inputs, *douts, saved, *trainable, *frozen)
        if self.single:
            return (found,)
        return found


class Gradients(nn.Cell):
    """Returns the gradients of the inputs and those of the trainable parameters.

    They come from one node, or from one each, of which the framework drops what nobody asks for.
    """

    def __init__(self, programs):
        super().__init__()
        self.together, self.trains = programs.together, bool(programs.trainable)
        self.inputs = programs.inputs
        self.backward = BackwardNode(programs) if self.trains else None
        self.input_gradient = None if self.together and self.trains else InputGradientNode(programs)

    def construct(self, inputs, douts, saved, trainable, frozen):
        if not self.trains:
            return self.input_gradient(inputs, douts, saved, trainable, frozen), ()
        found = self.backward(inputs, douts, saved, trainable, frozen, ())
        if self.together:
            return found[: self.inputs], found[self.inputs :]
        return self.input_gradient(inputs, douts, saved, trainable, frozen), found


class TrainingNode(nn.Cell):
    """Returns the outputs, and the saved tensors that their gradients need.

    The first input is an argument of its own: without a graph, a `bprop` whose first gradient is a tuple is taken for
    one that gives gradients of parameters by name.
    """

    def __init__(self, programs):
        super().__init__()
        self.forward, self.gradients = ForwardNode(programs), Gradients(programs)

    def construct(self, x, further, trainable, frozen, statistics):
        return self.forward((x, *further), trainable, frozen, statistics)

    def bprop(self, x, further, trainable, frozen, statistics, out, dout):
        input_gradients, gradients = self.gradients((x, *further), dout[:-1], out[-1], trainable, frozen)
        return input_gradients[0], input_gradients[1:], gradients, frozen, statistics


class EvaluationNode(nn.Cell):
    """Returns the outputs, by moving statistics; where a gradient is asked for, the training forward runs for it,
    too.
    """

    def __init__(self, programs):
        super().__init__()
        self.key, self.single = _key(programs, EVALUATION), programs.outputs == 1

        def out_shapes(images, shapes):
            return programs.output_shapes(*images)

        self.node = _node(programs, EVALUATION, out_shapes, programs.outputs)
        self.forward, self.gradients = ForwardNode(programs), Gradients(programs)

    def construct(self, x, further, trainable, frozen, statistics):
        found = self.node(self.key, x, *further, *trainable, *frozen, *statistics)
        if self.single:
            return (found,)
        return found

    def bprop(self, x, further, trainable, frozen, statistics, out, dout):
        inputs = (x, *further)
        saved = self.forward(inputs, trainable, frozen, statistics)[-1]
        input_gradients, gradients = self.gradients(inputs, dout, saved, trainable, frozen)
        return input_gradients[0], input_gradients[1:], gradients, frozen, statistics


class Results(nn.Cell):
    """Returns what a cell returns for its arguments, by a node.

    takes: which arguments are the node's inputs. gives: the number of the tensor that is returned, or a tuple or list
    of such, counting the arguments and then the node's outputs.
    """

    def __init__(self, node, takes, gives):
        super().__init__()
        self.node, self.takes = node, takes
        self.one, self.as_list = isinstance(gives, int), isinstance(gives, list)
        self.gives = (gives,) if self.one else tuple(gives)

    def construct(self, given, trainable, frozen, statistics):
        inputs = ()
        for k in self.takes:
            inputs = inputs + (given[k],)
        tensors = given + self.node(inputs[0], inputs[1:], trainable, frozen, statistics)
        found = ()
        for k in self.gives:
            found = found + (tensors[k],)
        if self.one:
            return found[0]
        if self.as_list:
            return list(found)
        return found
