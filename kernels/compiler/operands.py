"""What the plans of the forward and of the backward program have in common: where things are, and what a view's values are."""

from cellwright.kernels.compiler.schedule import NONE, Ref, Stages
from cellwright.kernels.csrc import program_abi as native


class Places:
    """The memory of one program: stored tensors, arrays of norms, and the values of views in the open stage."""

    def __init__(self, tensors, images, threads, parameters, first, **settings):
        """parameters: those of the node, which are its tensors from number `first` on."""
        self.tensors, self.lanes = tensors, tensors.lanes
        self.stages = Stages(images, threads, self.lanes, **settings)
        self.base = {id(parameter): first + k for k, parameter in enumerate(parameters)}
        self.layout = Tape(tensors, images)
        self.values = {}

    def size(self, stored):
        """Floats of an image, and blocks of channels."""
        blocks = -(-stored.channels // self.lanes)
        return blocks * self.lanes * stored.height * stored.width, blocks

    def place(self, stored):
        """Returns where a stored tensor lies; a part of a concatenation lies in the whole."""
        root, channel = stored.root()
        pixels = stored.height * stored.width
        return self.layout.places[root].at(channel * pixels)

    def norm_arrays(self, view):
        """Returns mean, scale, shift of a view's norm; NONE where it has none."""
        if view.norm is None:
            return [NONE] * 3
        mean, _, scale, shift = self.layout.norms[view]
        return [mean, scale, shift]

    def value(self, view, dense=False):
        """Returns where the values of a view are found in this stage; dense: with the images of a chunk side by side."""
        stored = view.stored
        image, blocks = self.size(stored)
        pixels = stored.height * stored.width
        if stored.kind == "input":
            return Ref(1, 0, stored.channels * pixels)
        place = self.place(stored)
        if view.plain and (not dense or place.stride == image):
            return place
        arrays = self.norm_arrays(view)
        return self._once(
            view,
            lambda target: self.stages.operation(
                "affine", [place, target, *arrays], [blocks, pixels], [view.slope], layer=view.name
            ),
        )

    def _once(self, view, write):
        key = (self.stages.number, view)
        if key not in self.values:
            self.values[key] = self.stages.take_scratch(self.size(view.stored)[0])
            write(self.values[key])
        return self.values[key]

    def gather_weight(self, stored):
        """Returns the weights of a gather in blocks, or NONE for a mean."""
        if "weight" not in stored.parameters:
            return NONE
        source = stored.sources[0].stored
        blocked = self.stages.take_lasting(self.size(source)[0])
        plain = Ref(self.base[id(stored.parameters["weight"])])
        self.stages.weights_job("import", [plain, blocked], [source.channels, source.height * source.width])
        return blocked

    def _plane(self, stored):
        return [self.size(stored)[1], stored.height * stored.width]


class Tape:
    """Where the forward node leaves what the backward node needs: all stored tensors, and the arrays of the norms."""

    def __init__(self, tensors, images):
        self.floats = 0
        self.places, self.statistics, self.norms = {}, {}, {}
        for stored in tensors.stored:
            if stored.kind != "input" and stored.whole is None:
                self._add(stored, tensors.lanes, images)

    def _take(self, floats):
        start = self.floats
        self.floats += -(-floats // 16) * 16
        return start

    def _add(self, root, lanes, images):
        padded = -(-root.channels // lanes) * lanes
        image = padded * root.height * root.width
        self.places[root] = Ref(native.BASE_TAPE, self._take(image * images), image)
        self.statistics[root] = [Ref(native.BASE_TAPE, self._take(padded)) for _ in range(2)]
        self._norms(root, root, lanes)

    def _norms(self, stored, root, lanes):
        """Every view has its own scale and shift; mean and variance of a part are those of the whole."""
        channel, padded = stored.root()[1], -(-stored.channels // lanes) * lanes
        for view in stored.views:
            if view.norm is not None:
                own = [Ref(native.BASE_TAPE, self._take(padded)) for _ in range(2)]
                self.norms[view] = [ref.at(channel) for ref in self.statistics[root]] + own
        for part in stored.parts:
            self._norms(part, root, lanes)


def convolution_shape(stored):
    """Returns the numbers that cellwright_conv_create takes."""
    source, numbers = stored.sources[0].stored, stored.numbers
    sizes = stored.height << 32 | stored.width << 1 | ("bias" in stored.parameters)
    window = (numbers["kernel"], numbers["stride"], numbers["top"], numbers["left"])
    return (source.channels, source.height, source.width, stored.channels, *window, sizes)


def window_numbers(stored, blocks):
    """Returns the numbers of a pool's window as blocked.inc takes them."""
    source, numbers = stored.sources[0].stored, stored.numbers
    window = [numbers["kernel"], numbers["stride"], numbers["top"], numbers["left"]]
    return [blocks, source.height, source.width, stored.height, stored.width, *window]
