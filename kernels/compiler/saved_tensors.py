"""Where the forward node leaves what the backward node needs: all stored tensors, and the arrays of the norms."""

from cellwright.kernels.compiler.memory import ALIGN
from cellwright.kernels.compiler.schedule import Ref
from cellwright.kernels.compiler.tensors import BFLOAT16, PLAIN
from cellwright.kernels.csrc import program_abi as native


class SavedTensors:
    """One tensor of the node holds them all: `floats` numbers; `places` of stored tensors, `statistics` of them,
    `norms` of views, `words` of kinds that have some.
    """

    def __init__(self, tensors, images):
        self.floats = 0
        self.lanes = tensors.lanes
        self.places, self.statistics, self.norms, self.words = {}, {}, {}, {}
        for stored in tensors.stored:
            if stored.layout != PLAIN and stored.whole is None:
                self._add(stored, images)
            if count := stored.kind.saved_words(stored):
                self.words[stored] = self.array(count)

    def array(self, floats):
        """Returns a place for so many numbers."""
        start = self.floats
        self.floats += -(-floats // ALIGN) * ALIGN
        return Ref(native.BASE_SAVED, start)

    def channel_array(self, stored):
        """Returns a place for a number for each channel of a tensor."""
        return self.array(-(-stored.channels // self.lanes) * self.lanes)

    def _add(self, root, images):
        numbers = -(-root.channels // self.lanes) * self.lanes * root.pixels
        image = numbers // (2 if root.dtype == BFLOAT16 else 1)
        place = self.array(image * images)
        self.places[root] = Ref(place.base, place.offset, image)
        self.statistics[root] = [self.channel_array(root) for _ in range(2)]
        self._norms(root)

    def _norms(self, stored):
        for view in stored.views:
            if view.norm is not None:
                self.norms[view] = view.norm.kind.saved_arrays(self, view)
        for part in stored.parts:
            self._norms(part)
