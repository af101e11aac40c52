"""Plans the way from the input of a network to its output."""

from cellwright.kernels.compiler.operands import Places, convolution_shape, window_numbers
from cellwright.kernels.compiler.schedule import NONE, Ref
from cellwright.kernels.csrc import program_abi as native


class Forward(Places):
    """A training step's way there, by batch statistics. Tensors of the node: key, input, parameters..., statistics..., output, tape."""

    def __init__(self, tensors, images, threads, parameters, **settings):
        super().__init__(tensors, images, threads, parameters, 2, **settings)
        self.output = 2 + len(parameters)
        self.written_in, self.normed = (
            {},
            set(),
        )  # stored -> the stage in which it is written; views whose norm is ready

    def plan(self):
        """Returns the finished stages."""
        for stored in self.tensors.stored:
            if stored.kind not in ("input", "concat"):
                self.stages.layer = stored.name
                getattr(self, "_" + stored.kind)(stored)
                self.written(stored)
        view, stored = self.tensors.output, self.tensors.output.stored
        pixels = stored.height * stored.width
        target = Ref(self.output, 0, stored.channels * pixels)
        self.stages.operation("export", [self.value(view), target], [stored.channels, pixels])
        self.stages.finish()
        return self.stages

    def norm_arrays(self, view):
        """As that of Places; where the statistics were written in the open stage, it is closed first."""
        if view.norm is not None and view not in self.normed:
            self.normed.add(view)
            stored = view.stored
            if any(self.written_in[leaf] == self.stages.number for leaf in stored.leaves()):
                self.stages.close()
            self.stages.job(1, "norm", *self.norm_job(view, self.layout.norms[view]), layer=view.name)
        return super().norm_arrays(view)

    def norm_job(self, view, arrays):
        """Returns references, integers and floats of the job that makes scale and shift."""
        stored, parameters, numbers = view.stored, view.norm.parameters, view.norm.numbers
        roles = [Ref(self.base[id(parameters[role])]) for role in ("gamma", "beta", "moving_mean", "moving_variance")]
        count = self.stages.images * stored.height * stored.width
        sizes = [stored.channels, self.size(stored)[1] * self.lanes, count]
        return [*arrays, *roles], sizes, [numbers["eps"], numbers["momentum"]]

    def begin(self, wish):
        """To be called before a convolution: chunks of another size begin another stage."""
        if self.stages.wishes and not (wish < 2 * self.stages.wishes[0] and self.stages.wishes[0] < 2 * wish):
            self.stages.close()

    def written(self, stored):
        """To be called after each stored tensor: adds its statistics, if a norm wants them."""
        whole, norm = stored, None
        while whole is not None:
            norm = norm or next((view.norm for view in whole.views if view.norm), None)
            whole = whole.whole
        if norm is None:
            return
        _, blocks = self.size(stored)
        pixels = stored.height * stored.width
        partial = self.stages.take_per_thread(blocks * self.lanes * 4)  # two doubles a channel
        self.stages.operation("statistics", [self.place(stored), partial], [blocks, pixels], layer=norm.name)
        root, channel = stored.root()
        mean, variance = (ref.at(channel) for ref in self.layout.statistics[root])
        self.stages.job_after("statistics", [partial, mean, variance], [blocks * self.lanes, pixels], layer=norm.name)
        self.written_in[stored] = self.stages.number

    def _conv(self, stored):
        view = stored.sources[0]
        wish = self.stages.wish(self.size(view.stored)[0] + self.size(stored)[0])
        self.begin(wish)
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

    def _max_pool(self, stored):
        self._window(stored, [self.value(stored.sources[0]), self.place(stored)])

    _avg_pool = _max_pool

    def _window(self, stored, refs):
        self.stages.operation(stored.kind, refs, window_numbers(stored, self.size(stored)[1]))

    def _gather(self, stored):
        source = self.value(stored.sources[0])
        weight = self.gather_weight(stored)
        self.stages.operation("gather", [source, self.place(stored), weight], self._plane(stored.sources[0].stored))

    def _join(self, stored):
        for view in stored.sources:
            self.norm_arrays(view)  # may close the stage, which ends what is in scratch memory
        left, right = (self.value(view) for view in stored.sources[:2])
        gate = self.value(stored.sources[2]) if len(stored.sources) > 2 else NONE
        self.stages.operation(
            "join", [left, right, gate, self.place(stored)], self._plane(stored), [stored.numbers["slope"]]
        )

    def _affine(self, stored):
        view, place = stored.sources[0], self.place(stored)
        source = view.stored
        if source.kind == "input":
            plain = Ref(1, 0, source.channels * source.height * source.width)
            self.stages.operation("import", [plain, place], [source.channels, source.height * source.width])
        else:
            refs = [self.place(source), place, *self.norm_arrays(view)]
            self.stages.operation("affine", refs, self._plane(stored), [view.slope])


class Evaluation(Forward):
    """Evaluation, by moving statistics: one stage, in which each chunk goes through the whole network in scratch memory.

    Tensors of the node: as in training, without a tape.
    """

    def __init__(self, tensors, images, threads, parameters, **settings):
        super().__init__(tensors, images, threads, parameters, **settings)
        self.places, self.arrays = {}, {}
        readers = [view.stored for stored in tensors.stored for view in stored.sources] + [tensors.output.stored]
        self.readers = [stored.root()[0] for stored in readers]  # one entry for each use that is still to come

    def place(self, stored):
        root, channel = stored.root()
        if root not in self.places:
            self.places[root] = self.stages.take_scratch(self.size(root)[0])
        return self.places[root].at(channel * stored.height * stored.width)

    def norm_arrays(self, view):
        if view.norm is None:
            return [NONE] * 3
        if view not in self.arrays:
            padded = self.size(view.stored)[1] * self.lanes
            self.arrays[view] = [self.stages.take_lasting(padded) for _ in range(4)]
            self.stages.weights_job("norm_fixed", *self.norm_job(view, self.arrays[view]), layer=view.name)
        mean, _, scale, shift = self.arrays[view]
        return [mean, scale, shift]

    def begin(self, wish):
        pass

    def written(self, stored):
        for view in stored.sources:
            root = view.stored.root()[0]
            self.readers.remove(root)
            if root in self.readers:
                continue
            for key in [key for key in self.values if key[1].stored.root()[0] is root]:
                self.stages.release_scratch(self.values.pop(key))
            if root in self.places:
                self.stages.release_scratch(self.places.pop(root))
