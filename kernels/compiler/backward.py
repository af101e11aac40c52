"""Plans the backward: from the gradients of the outputs to those of the parameters, or to those of the inputs."""

import dataclasses
import functools

from cellwright.kernels.compiler.gradients import Gradients
from cellwright.kernels.compiler.schedule import NONE, Ref
from cellwright.kernels.compiler.tensors import PLAIN, STORED

# The memory of a gradient that is done with can be used again after a barrier. A network without batch norms has none,
# so a stage is closed when this many numbers wait. VGG16 at 224, batch 8: work 740 -> 256 MiB, scratch of a thread 103
# -> 24 MiB.
RELEASED = 4 << 20


@dataclasses.dataclass(frozen=True)
class Wanted:
    """The gradients that nodes give: of the parameters of each part, in the order of the nodes; of the inputs by
    the last one.
    """

    parts: tuple = ((),)
    input: bool = False


class Backward(Gradients):
    """Tensors of the node: key, inputs, gradients of the outputs, saved tensors, parameters..., then what it gives.

    That is the gradients of the inputs (if they are wanted, by the last node), then those of the parameters; if there
    are several nodes, the work memory is the last tensor that the first one gives, and the others have it after
    the parameters.
    """

    def __init__(self, tensors, images, threads, parameters, wanted, **settings):
        inputs = len(tensors.shapes)
        own = 2 + inputs + len(tensors.outputs)  # the number of the first parameter
        super().__init__(tensors, images, threads, parameters, own, **settings)
        self.wanted = wanted
        last = len(wanted.parts) - 1
        first = [own + len(parameters) + bool(number) for number in range(last + 1)]
        self.input_targets = [Ref(first[last] + number) for number in range(inputs)]
        self.targets = {
            id(parameter): Ref(first[number] + inputs * (wanted.input and number == last) + k)
            for number, part in enumerate(wanted.parts)
            for k, parameter in enumerate(part)
        }
        self._missing = [{id(parameter) for parameter in part} for part in wanted.parts]  # no gradient planned yet
        self.groups = [[]]  # the parameters whose gradients are planned together, in this order
        self._needed = {}

    def plan(self):
        """Returns the finished stages."""
        for stored in reversed(self.tensors.stored):
            self._begin(stored)
            if not stored.parts and self.reached(stored):
                self.stages.layer = stored.name
                stored.kind.backward(self, stored)
            self.release(stored)
            if self.stages.work.released > RELEASED:
                self.stages.close()
            self.groups.append([])
            cuts = len(self.stages.cuts)
            if cuts < len(self._missing) - 1 and not self._missing[cuts]:
                self.stages.cut()
        self.stages.finish()
        return self.stages

    def output(self, parameter):
        """Returns where the gradient of a parameter goes, or NONE; to be called once for each."""
        self.groups[-1].append(parameter)
        for part in self._missing:
            part.discard(id(parameter))
        return self.targets.get(id(parameter), NONE)

    def gives(self, parameter):
        """True if the gradient of a parameter is asked for; it may be None."""
        return parameter is not None and id(parameter) in self.targets

    def needs(self, view):
        """True if something before this view wants its gradient."""
        return self._needs(view.stored) or view.norm is not None and any(map(self.gives, view.norm.parameters.values()))

    def _needs(self, stored):
        if stored not in self._needed:
            own = self.wanted.input if stored.layout == PLAIN else any(map(self.gives, stored.parameters.values()))
            inside = any(self._needs(part) for part in stored.parts)
            self._needed[stored] = own or inside or any(self.needs(view) for view in stored.sources)
        return self._needed[stored]

    def _begin(self, stored):
        """Adds what the network's outputs are given to the gradient of a tensor; all that reads it was there before."""
        self.stages.layer = stored.name
        plane = {"channels": stored.channels, "pixels": stored.pixels, "form": STORED}
        for number, view in enumerate(self.tensors.outputs):
            if view.stored is stored and self.needs(view):
                source = Ref(1 + len(self.tensors.shapes) + number, 0, stored.channels * stored.pixels)
                self.share(view, functools.partial(self._import, source, plane))

    def _import(self, source, plane, target):
        self.operation("import", source=source, target=target, **plane)

    def give_input(self, source, gradient, form=STORED):
        """Writes the gradient of an input, which is given in a form, as the framework has it."""
        target = self.input_targets[source.numbers["input"]]
        plain = dataclasses.replace(target, stride=source.channels * source.pixels)
        plane = {"channels": source.channels, "pixels": source.pixels, "form": form}
        self.operation("export", source=gradient, target=plain, **plane)
