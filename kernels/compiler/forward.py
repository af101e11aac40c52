"""Plans the way from the input of a network to its output."""

from cellwright.kernels.compiler.operands import EVALUATION, FORWARD, Operands
from cellwright.kernels.compiler.schedule import Ref
from cellwright.kernels.compiler.tensors import PLAIN, STORED


class Forward(Operands):
    """A training step's forward. Tensors of the node: key, input, parameters..., output, saved tensors."""

    direction = FORWARD

    def __init__(self, tensors, images, threads, parameters, **settings):
        super().__init__(tensors, images, threads, parameters, 2, **settings)
        self._output = 2 + len(parameters)
        self.written_in = {}  # stored -> the stage in which its statistics are taken
        self.normed = {}  # views whose norm is ready, and its arrays

    def plan(self):
        """Returns the finished stages."""
        for stored in self.tensors.stored:
            self.stages.layer = stored.name
            stored.kind.forward(self, stored)
            self._written(stored)
        view, stored = self.tensors.output, self.tensors.output.stored
        target = Ref(self._output, 0, stored.channels * stored.pixels)
        plane = {"channels": stored.channels, "pixels": stored.pixels, "form": STORED}
        self.operation("export", source=self.value(view), target=target, **plane)
        self.stages.finish()
        return self.stages

    def folded(self, stored):
        """Returns the View whose values are stored in place of the tensor's own, or None."""
        return None

    def begin(self, chunk_size):
        """To be called before a convolution: chunks of another size begin another stage."""
        sizes = self.stages.chunk_sizes
        if sizes and not (chunk_size < 2 * sizes[0] and sizes[0] < 2 * chunk_size):
            self.stages.close()

    def _written(self, stored):
        """Lets a norm that reads this tensor, or one that it is a part of, take its statistics."""
        whole = stored
        while whole is not None and not stored.parts:
            for view in whole.views:
                if view.norm is not None and view.norm.kind.take_statistics(self, view.norm, stored):
                    return
            whole = whole.whole


class Evaluation(Forward):
    """Evaluation, by moving statistics: one stage, in which each chunk goes through the whole network in scratch
    memory.

    Tensors of the node: as in training, without the saved ones.
    """

    direction = EVALUATION

    def __init__(self, tensors, images, threads, parameters, **settings):
        super().__init__(tensors, images, threads, parameters, keeps=True, **settings)
        self._places, self._folded = {}, {}
        readers = [view.stored for stored in tensors.stored for view in stored.sources] + [tensors.output.stored]
        self._readers = [stored.root()[0] for stored in readers]  # one entry for each use that is still to come

    def place(self, stored):
        if stored.layout == PLAIN:
            return self.input_tensor()
        root, channel = stored.root()
        if root not in self._places:
            self._places[root] = self.stages.take_scratch(self.floats(root))
        return self.part(self._places[root], stored, channel)

    def folded(self, stored):
        if stored not in self._folded:
            self._folded[stored] = stored.kind.folded(stored)
        return self._folded[stored]

    def arrays(self, view):
        return super().arrays(self.tensors.view(view.stored) if self.folded(view.stored) is view else view)

    def value(self, view, dense=False, form=STORED):
        if self.folded(view.stored) is view:
            return self.place(view.stored)
        return super().value(view, dense, form)

    def begin(self, chunk_size):
        pass

    def _written(self, stored):
        for view in stored.sources:
            root = view.stored.root()[0]
            self._readers.remove(root)
            if root in self._readers:
                continue
            for key in [key for key in self.values if key[1].stored.root()[0] is root]:
                self.stages.release_scratch(self.values.pop(key))
            if root in self._places:
                self.stages.release_scratch(self._places.pop(root))
