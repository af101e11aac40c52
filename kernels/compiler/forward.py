"""Plans the way from the inputs of a network to its outputs."""

import dataclasses

from cellwright.kernels.compiler.operands import EVALUATION, FORWARD, Operands
from cellwright.kernels.compiler.schedule import Ref
from cellwright.kernels.compiler.tensors import PLAIN, STORED


class Forward(Operands):
    """A training step's forward. Tensors of the node: key, inputs..., parameters..., outputs..., saved tensors."""

    direction = FORWARD

    def __init__(self, tensors, images, threads, parameters, **settings):
        first = 1 + len(tensors.shapes)
        super().__init__(tensors, images, threads, parameters, first, **settings)
        self._outputs = {Ref(first + len(parameters) + k): view for k, view in enumerate(tensors.outputs)}
        self.written_in = {}  # stored -> the stage in which its statistics are taken
        self.normed = {}  # views whose norm is ready, and its arrays

    def plan(self):
        """Returns the finished stages."""
        for stored in self.tensors.stored:
            self.stages.layer = stored.name
            stored.kind.forward(self, stored)
            self._export([view for view in self.tensors.outputs if view.stored is stored and self._is_ready(view)])
            self._written(stored)
        self._export([view for view in self.tensors.outputs if not self._is_ready(view)])
        self.stages.finish()
        return self.stages

    def _is_ready(self, view):
        """True if a view can be given as soon as its tensor is written, while that is in the cache."""
        return view.norm is None

    def _export(self, views):
        """Writes outputs of the network as the framework has them."""
        for target, view in self._outputs.items():
            if view in views:
                stored = view.stored
                target = dataclasses.replace(target, stride=stored.channels * stored.pixels)
                plane = {"channels": stored.channels, "pixels": stored.pixels, "form": STORED}
                self.operation("export", stored.name, source=self.value(view), target=target, **plane)

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
        readers = [view for stored in tensors.stored for view in stored.sources] + tensors.outputs
        self._readers = [view.stored.root()[0] for view in readers]  # one entry for each use that is still to come

    def place(self, stored):
        if stored.layout == PLAIN:
            return self.input_tensor(stored)
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

    def _is_ready(self, view):
        return True

    def _written(self, stored):
        exported = [view for view in self.tensors.outputs if view.stored is stored]
        for view in [*stored.sources, *exported]:
            root = view.stored.root()[0]
            self._readers.remove(root)
            if root in self._readers:
                continue
            for key in [key for key in self.values if key[1].stored.root()[0] is root]:
                self.stages.release_scratch(self.values.pop(key))
            if root in self._places:
                self.stages.release_scratch(self._places.pop(root))
