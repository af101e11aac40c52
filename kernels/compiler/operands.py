"""What the plans of the forward and of the backward program have in common: where things are, and what a view's values
are.
"""

from cellwright.kernels.compiler.saved_tensors import SavedTensors
from cellwright.kernels.compiler.schedule import NONE, Ref, Stages
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import BFLOAT16, PLAIN, ROWS, STORED, WIDE
from cellwright.kernels.csrc.operations import IN_BFLOAT16

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

    @property
    def bfloat16(self):
        """True if tensors are stored as bfloat16."""
        return self.tensors.dtype == BFLOAT16

    def operation(self, kind, layer=None, **arguments):
        if self.bfloat16 and kind not in IN_BFLOAT16:
            raise Untraceable(f"{kind}, which programs do not have in bfloat16")
        return self.stages.operation(kind, layer=layer, **arguments)

    def parameter(self, parameter):
        """Returns where a parameter lies."""
        return Ref(self._base[id(parameter)])

    def numbers(self, stored):
        """Numbers of an image, with those that fill up the last block of channels."""
        return self.padded(stored) * stored.pixels

    def floats(self, stored, form=STORED):
        """Memory of an image in a form, in floats: two numbers of bfloat16 take one."""
        if form == ROWS:
            return -(-stored.channels * stored.pixels // 2)
        return self.numbers(stored) // (2 if self.bfloat16 and form == STORED else 1)

    def blocks(self, stored):
        """Blocks of channels."""
        return -(-stored.channels // self.lanes)

    def padded(self, stored):
        """Channels, with those that fill up the last block."""
        return self.blocks(stored) * self.lanes

    def plane(self, stored):
        """The numbers that most operations take."""
        return {"blocks": self.blocks(stored), "pixels": stored.pixels}

    def plane_in(self, stored, form):
        """The numbers of operations that read or write a tensor in a form."""
        return {**self.plane(stored), "channels": stored.channels, "form": form}

    def place(self, stored):
        """Returns where a stored tensor lies; a part of a concatenation lies in the whole."""
        if stored.layout == PLAIN:
            return self.input_tensor(stored)
        root, channel = stored.root()
        return self.part(self.saved.places[root], stored, channel)

    def part(self, whole, stored, channel):
        """Returns where a part lies that begins with a channel of the whole."""
        return whole.at(channel * stored.pixels // (2 if self.bfloat16 else 1))

    def input_tensor(self, stored):
        """Returns where an input of the node lies, as the framework has it."""
        return Ref(1 + stored.numbers["input"], 0, stored.channels * stored.pixels)

    def arrays(self, view):
        """Returns mean, scale and shift of a view's norm, by name; nothing of it where it has none."""
        if view.norm is None:
            return {"mean": NONE, "scale": NONE, "shift": NONE}
        return view.norm.kind.arrays(self, view)

    def value(self, view, dense=False, form=STORED):
        """Returns where the values of a view are found in this stage, in a form; dense: with the images of a chunk
        side by side.
        """
        stored, place = view.stored, self.place(view.stored)
        if stored.layout == PLAIN:
            return self._input_in(view, form)
        if form == STORED and view.plain and (not dense or place.stride == self.floats(stored)):
            return place
        arrays = self.arrays(view)  # may close the stage
        key = (self.stages.number, view, form)
        if key not in self.values:
            self.values[key] = self.stages.take_scratch(self.floats(stored, form))
            self.operation(
                "affine",
                layer=view.name,
                source=place,
                target=self.values[key],
                slope=view.slope,
                **arrays,
                **self.plane_in(stored, form),
            )
        return self.values[key]

    def _input_in(self, view, form):
        """Returns an input of the node as a convolution reads it: in the framework's layout, or in rows."""
        source, place = view.stored, self.input_tensor(view.stored)
        if not self.bfloat16:
            return place
        key, numbers = (self.stages.number, view, form), source.channels * source.pixels
        if key not in self.values:
            floats = numbers if form == WIDE else -(-numbers // 2)
            target = self.values[key] = self.stages.take_scratch(floats)
            if form == ROWS:
                plane = {"channels": source.channels, "pixels": source.pixels, "form": form}
                self.operation("import", source=place, target=target, **plane)
            else:
                self.operation("round", source=place, target=target, floats=numbers, form=form)
        return self.values[key]

    def settle(self, stored, source, target, form=STORED, add=False):
        """Stores what lies dense in a form, or adds it to what is there; the scratch memory that it took is free."""
        if form == STORED:
            self.operation("add" if add else "copy", source=source, target=target, floats=self.floats(stored))
        else:
            self.operation("unpack", source=source, target=target, add=int(add), **self.plane_in(stored, form))
        self.stages.release_scratch(source)
