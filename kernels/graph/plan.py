"""Plans the three programs of a traced network for one input shape: evaluation, forward of a training step, backward."""

import dataclasses

from kernels.graph import native
from kernels.graph.stages import NONE, Ref, Stages


@dataclasses.dataclass(frozen=True)
class Node:
    """A planned program: its stages, and the floats of the tape that it writes or reads."""

    stages: Stages
    tape: int


class Forward:
    """Plans the way from the input to the output. Tensors of the node: key, input, parameters..., statistics..., output, tape.

    training: batch statistics, and what the backward node needs is written to the tape; else moving statistics and no tape.
    """

    def __init__(self, tensors, images, threads, parameters, training, **settings):
        self.tensors, self.training, self.lanes = tensors, training, tensors.lanes
        self.stages = Stages(images, threads, self.lanes, **settings)
        self.base = {id(parameter): 2 + k for k, parameter in enumerate(parameters)}
        self.output = Ref(2 + len(parameters))
        self.layout = Tape(tensors, images) if training else None
        self.places, self.arrays, self.partial = {}, {}, {}
        self.normed, self.values = set(), {}

    def plan(self):
        for stored in self.tensors.stored:
            if stored.kind not in ("input", "concat"):
                getattr(self, "_" + stored.kind)(stored)
        view, stored = self.tensors.output, self.tensors.output.stored
        image = stored.channels * stored.height * stored.width
        source = self.value(view)
        target = dataclasses.replace(self.output, stride=image)
        self.stages.operation("export", [source, target], [stored.channels, stored.height * stored.width])
        self.stages.finish()
        return Node(self.stages, self.layout.floats if self.training else 0)

    # Where things are.

    def size(self, stored):
        """Floats of an image, and blocks of channels."""
        blocks = -(-stored.channels // self.lanes)
        return blocks * self.lanes * stored.height * stored.width, blocks

    def place(self, stored):
        """Returns where a stored tensor lies; a part of a concatenation lies in the whole."""
        root, channel = stored.root()
        pixels = stored.height * stored.width
        if self.training:
            ref = self.layout.places[root]
        else:
            if root not in self.places:
                self.places[root] = self.stages.take_work(self.size(root)[0])
            ref = self.places[root]
        return ref.at(channel * pixels)

    def norm_arrays(self, view):
        """Returns mean, scale, shift of a view's norm; NONE where it has none. Closes the stage if they are not ready."""
        if view.norm is None:
            return [NONE] * 3
        if self.training:
            self.arrays[view] = self.layout.norms[view]
        elif view not in self.arrays:
            padded = self.size(view.stored)[1] * self.lanes
            self.arrays[view] = [Ref(native.BASE_WORK, self.stages.work.take_fresh(padded)) for _ in range(4)]
        mean, variance, scale, shift = self.arrays[view]
        if view not in self.normed:
            self.normed.add(view)
            stored, parameters = view.stored, view.norm.parameters
            if self.training and any(self.partial[leaf] == self.stages.number for leaf in stored.leaves()):
                self.stages.close()
            roles = [Ref(self.base[id(parameters[role])]) for role in ("gamma", "beta", "moving_mean", "moving_variance")]
            padded = self.size(stored)[1] * self.lanes
            count = self.stages.images * stored.height * stored.width
            numbers = [view.norm.numbers[name] for name in ("eps", "momentum")]
            job = ([mean, variance, scale, shift, *roles], [stored.channels, padded, count], numbers)
            if self.training:
                self.stages.job(1, "norm", *job)
            else:
                self.stages.weights_job("norm_fixed", *job)
        return [mean, scale, shift]

    # What is written.

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
            lambda target: self.stages.operation("affine", [place, target, *arrays], [blocks, pixels], [view.slope]),
        )

    def _once(self, view, write):
        key = (self.stages.number, view)
        if key not in self.values:
            self.values[key] = self.stages.take_scratch(self.size(view.stored)[0])
            write(self.values[key])
        return self.values[key]

    def _statistics(self, stored):
        """Adds the statistics of a tensor that was just written, if a norm wants them."""
        whole, wanted = stored, False
        while whole is not None:
            wanted = wanted or any(view.norm for view in whole.views)
            whole = whole.whole
        if not wanted or not self.training:
            return
        _, blocks = self.size(stored)
        pixels = stored.height * stored.width
        partial = self.stages.take_per_thread(blocks * self.lanes * 4)  # two doubles a channel
        self.stages.operation("statistics", [self.place(stored), partial], [blocks, pixels])
        root, channel = stored.root()
        mean, variance = (ref.at(channel) for ref in self.layout.statistics[root])
        self.stages.job_after("statistics", [partial, mean, variance], [blocks * self.lanes, pixels])
        self.partial[stored] = self.stages.number

    def _conv(self, stored):
        view = stored.sources[0]
        wish = self.stages.wish(self.size(view.stored)[0] + self.size(stored)[0])
        if self.stages.wishes and not (wish < 2 * self.stages.wishes[0] and self.stages.wishes[0] < 2 * wish):
            self.stages.close()
        source = self.value(view, dense=True)
        self.stages.wishes.append(wish)
        place, image = self.place(stored), self.size(stored)[0]
        target = place if place.stride == image else self.stages.take_scratch(image)
        bias = Ref(self.base[id(stored.parameters["bias"])]) if "bias" in stored.parameters else NONE
        weights = Ref(self.base[id(stored.parameters["weight"])])
        shape = convolution_shape(stored)
        self.stages.operation("conv", [source, None, bias, target], convolution=(native.FORWARD, shape, weights, None))
        if target is not place:
            self.stages.operation("copy", [target, place], [image])
        self._statistics(stored)

    def _max_pool(self, stored):
        self._window(stored, [self.value(stored.sources[0]), self.place(stored)])

    _avg_pool = _max_pool

    def _window(self, stored, refs):
        self.stages.operation(stored.kind, refs, window_numbers(stored, self.size(stored)[1]))
        self._statistics(stored)

    def _gather(self, stored):
        source = self.value(stored.sources[0])
        weight = self.gather_weight(stored)
        self.stages.operation("gather", [source, self.place(stored), weight], self._plane(stored.sources[0].stored))
        self._statistics(stored)

    def gather_weight(self, stored):
        """Returns the weights of a gather in blocks, or NONE for a mean."""
        if "weight" not in stored.parameters:
            return NONE
        source = stored.sources[0].stored
        blocked = Ref(native.BASE_WORK, self.stages.work.take_fresh(self.size(source)[0]))
        plain = Ref(self.base[id(stored.parameters["weight"])])
        self.stages.weights_job("import", [plain, blocked], [source.channels, source.height * source.width])
        return blocked

    def _join(self, stored):
        for view in stored.sources:
            self.norm_arrays(view)  # may close the stage, which ends what is in scratch memory
        left, right = (self.value(view) for view in stored.sources[:2])
        gate = self.value(stored.sources[2]) if len(stored.sources) > 2 else NONE
        self.stages.operation(
            "join", [left, right, gate, self.place(stored)], self._plane(stored), [stored.numbers["slope"]]
        )
        self._statistics(stored)

    def _affine(self, stored):
        view, place = stored.sources[0], self.place(stored)
        source = view.stored
        if source.kind == "input":
            plain = Ref(1, 0, source.channels * source.height * source.width)
            self.stages.operation("import", [plain, place], [source.channels, source.height * source.width])
        else:
            refs = [self.place(source), place, *self.norm_arrays(view)]
            self.stages.operation("affine", refs, self._plane(stored), [view.slope])
        self._statistics(stored)

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
