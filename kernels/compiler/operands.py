"""What the plans of the forward and of the backward program have in common: where things are, and what a view's values
are.
"""

from cellwright.kernels.compiler.saved_tensors import SavedTensors
from cellwright.kernels.compiler.schedule import NONE, Ref, Stages
from cellwright.kernels.compiler.tensors import PLAIN

FORWARD, BACKWARD, EVALUATION = "forward", "backward", "evaluation"


class Operands:
    """The memory of one program: stored tensors, arrays of norms, and the values of views in the open stage."""

    direction = None

    def __init__(self, tensors, images, threads, parameters, first, **settings):
        """parameters: those of the node, which are its tensors from number `first` on."""
        self.tensors, self.lanes = tensors, tensors.lanes
        self.stages = Stages(images, threads, self.lanes, **settings)
        self._base = {id(parameter): first + k for k, parameter in enumerate(parameters)}
        self.saved = SavedTensors(tensors, images)
        self.values = {}

    def operation(self, kind, layer=None, **arguments):
        return self.stages.operation(kind, layer=layer, **arguments)

    def parameter(self, parameter):
        """Returns where a parameter lies."""
        return Ref(self._base[id(parameter)])

    def floats(self, stored):
        """Floats of an image, with those that fill up the last block of channels."""
        return self.padded(stored) * stored.pixels

    def blocks(self, stored):
        """Blocks of channels."""
        return -(-stored.channels // self.lanes)

    def padded(self, stored):
        """Channels, with those that fill up the last block."""
        return self.blocks(stored) * self.lanes

    def plane(self, stored):
        """The numbers that most operations take."""
        return {"blocks": self.blocks(stored), "pixels": stored.pixels}

    def place(self, stored):
        """Returns where a stored tensor lies; a part of a concatenation lies in the whole."""
        if stored.layout == PLAIN:
            return self.input_tensor()
        root, channel = stored.root()
        return self.saved.places[root].at(channel * stored.pixels)

    def input_tensor(self):
        """Returns where the node's input lies, as the framework has it."""
        source = self.tensors.input
        return Ref(1, 0, source.channels * source.pixels)

    def arrays(self, view):
        """Returns mean, scale and shift of a view's norm, by name; nothing of it where it has none."""
        if view.norm is None:
            return {"mean": NONE, "scale": NONE, "shift": NONE}
        return view.norm.kind.arrays(self, view)

    def value(self, view, dense=False):
        """Returns where the values of a view are found in this stage; dense: with the images of a chunk side by
        side.
        """
        place = self.place(view.stored)
        if view.stored.layout == PLAIN or view.plain and (not dense or place.stride == self.floats(view.stored)):
            return place
        arrays = self.arrays(view)  # may close the stage
        key = (self.stages.number, view)
        if key not in self.values:
            self.values[key] = self.stages.take_scratch(self.floats(view.stored))
            self.operation(
                "affine",
                layer=view.name,
                source=place,
                target=self.values[key],
                slope=view.slope,
                **arrays,
                **self.plane(view.stored),
            )
        return self.values[key]
