"""Plans the way back: from the gradient of the output to those of the parameters, or to that of the input."""

import dataclasses

from cellwright.kernels.compiler.operands import Places, convolution_shape, window_numbers
from cellwright.kernels.compiler.schedule import NONE, Ref
from cellwright.kernels.compiler.trace import Untraceable
from cellwright.kernels.csrc import program_abi as native

# The memory of a gradient that is done with can be used again after a barrier. A network without batch norms has none, so a
# stage is closed when this many numbers wait. VGG16 at 224, batch 8: work 740 -> 256 MiB, scratch of a thread 103 -> 24 MiB.
RELEASED = 4 << 20


class Backward(Places):
    """Tensors of the node: key, input, gradient of the output, tape, parameters..., then their gradients or the input's.

    Each stored tensor has at most one gradient in memory. If its only use is one view act(norm(.)), it is the view's
    gradient, and norm and activation are applied where it is read. Else each view's share is added up, and the part of a
    norm's gradient that needs sums over the batch, which is linear in the tensor itself, is put off: its two coefficients a
    channel are added up over all norms of the tensor and applied once.

    parts: the parameters whose gradients each node gives, in the order of the nodes; None: a node for the gradient of the input.
    Each node but the first has, after the parameters, one more tensor, which tells that the one before it is done.
    """

    def __init__(self, tensors, images, threads, parameters, parts, **settings):
        super().__init__(tensors, images, threads, parameters, 4, **settings)
        self.input_gradient = parts is None
        first = 4 + len(parameters)
        self.targets = {
            id(parameter): Ref(first + bool(number) + k)
            for number, part in enumerate(parts or ())
            for k, parameter in enumerate(part)
        }
        self.missing = [{id(parameter) for parameter in part} for part in parts or ()]  # no gradient planned yet
        self.groups = [[]]  # the parameters whose gradients are planned together, in this order
        self.input_target = Ref(first)
        self.gradients = {}  # root -> Ref
        self.written = set()  # leaves whose gradient has been begun, and views
        self.pending = {view: view.consumers for stored in tensors.stored for view in stored.views}
        self.lazy = {}  # root -> slope and constant
        self.reduced = {}  # leaf or view -> the last stage in which a norm's sums were taken
        self.own = {}  # view -> its gradient, where the stored tensor's has other shares too

    def plan(self):
        self.stages.layer = self.tensors.output.name
        self._export()
        for stored in reversed(self.tensors.stored):
            if stored.kind not in ("input", "concat") and (stored in self.written or self._raw(stored) in self.written):
                self.stages.layer = stored.name
                getattr(self, f"_{stored.kind}_gradient")(stored)
            self._release(stored)
            if self.stages.work.released > RELEASED:
                self.stages.close()
            self.groups.append([])
            if len(self.stages.cuts) < len(self.missing) - 1 and not self.missing[len(self.stages.cuts)]:
                self.stages.cut()
        self.stages.finish()
        return self.stages

    def _release(self, stored):
        root = stored.root()[0]
        first = root.leaves()[0]
        if stored is first and root in self.gradients and root.kind != "input":
            self.stages.work.release(self.gradients.pop(root).offset)

    def _output(self, parameter):
        """Returns where the gradient of a parameter goes, or NONE; to be called once for each."""
        self.groups[-1].append(parameter)
        for part in self.missing:
            part.discard(id(parameter))
        return self.targets.get(id(parameter), NONE)

    # Gradients of tensors and views.

    def _raw(self, stored):
        """Returns the view whose gradient stands in place of that of the tensor, or None."""
        if stored.whole is None and not stored.parts and len(stored.views) == 1 and not stored.views[0].plain:
            return stored.views[0]
        return None

    def gradient(self, stored):
        root, channel = stored.root()
        if root not in self.gradients:
            self.gradients[root] = self.stages.take_work(self.size(root)[0])
        return self.gradients[root].at(channel * stored.height * stored.width)

    def target(self, view):
        """Returns where an operation puts its share of a view's gradient, and whether it has to add it."""
        stored = view.stored
        if view.plain or self._raw(stored) is view:
            ref, marks = self.gradient(stored), [view] if not view.plain else stored.leaves()
        else:
            if view not in self.own:
                several = view.consumers > 1
                image = self.size(stored)[0]
                self.own[view] = self.stages.take_work(image) if several else self.stages.take_scratch(image)
            ref, marks = self.own[view], [view]
        return ref, self._begun(marks)

    def _begun(self, marks):
        begun = [mark in self.written for mark in marks]
        if any(begun) and not all(begun):
            raise Untraceable("a concatenation of which only a part is used elsewhere")
        self.written.update(marks)
        return begun[0]

    def done(self, view):
        """To be called after each share of a view's gradient; after the last one the norm's sums are taken."""
        self.pending[view] -= 1
        if self.pending[view] or view.plain:
            return
        stored, raw = view.stored, self._raw(view.stored) is view
        if raw and view.norm is None:
            return
        image, blocks = self.size(stored)
        padded = blocks * self.lanes
        mean, scale, shift = self.norm_arrays(view)
        partial = self.stages.take_per_thread(padded * 4)
        source = self.gradient(stored) if raw else self.own[view]
        keep, kept = (0, NONE) if raw else (1 + self._begun(stored.leaves()), self.gradient(stored))
        self.stages.operation(
            "norm_reduce",
            [source, self.place(stored), mean, scale, shift, partial, kept],
            [blocks, stored.height * stored.width, keep],
            [view.slope],
            layer=view.name,
        )
        if not raw and view.consumers > 1:
            self.stages.work.release(self.own[view].offset)
        if view.norm is None:
            return
        slope, constant, add = self._coefficients(view, raw)
        outputs = [self._output(view.norm.parameters[role]) for role in ("gamma", "beta")]
        self.stages.job_after(
            "norm_gradient",
            [partial, self.layout.norms[view][1], scale, *outputs, slope, constant],
            [stored.channels, padded, self.stages.images * stored.height * stored.width, add],
            [view.norm.numbers["eps"]],
            layer=view.name,
        )
        for mark in stored.leaves():
            self.reduced[mark] = self.stages.number

    def _coefficients(self, view, raw):
        """Returns where slope and constant of the put-off part go, and whether they are added to what is there."""
        stored = view.stored
        root, channel = stored.root()
        if root not in self.lazy:
            padded = self.size(root)[1] * self.lanes
            self.lazy[root] = [self.stages.take_lasting(padded) for _ in range(2)]
        slope, constant = (ref.at(channel) for ref in self.lazy[root])
        return slope, constant, self._begun([(leaf, "lazy") for leaf in stored.leaves()])

    def ready(self, stored, dense=False):
        """Returns where the whole gradient of a stored tensor is found in this stage."""
        image, blocks = self.size(stored)
        pixels = stored.height * stored.width
        view = self._raw(stored)
        if self.reduced.get(stored, -1) == self.stages.number:
            self.stages.close()
        ref = self.gradient(stored)
        lazy = (stored, "lazy") in self.written
        if view is None and not lazy:
            if not dense or ref.stride == image:
                return ref
            target = self.stages.take_scratch(image)
            self.stages.operation("copy", [ref, target], [image])
            return target
        root, channel = stored.root()
        slope, constant = (r.at(channel) for r in self.lazy[root]) if lazy else (NONE, NONE)
        if view is not None:
            mean, scale, shift = self.norm_arrays(view)
        else:
            mean, scale, shift = self.layout.statistics[root][0].at(channel), NONE, NONE
        target = self.stages.take_scratch(image)
        self.stages.operation(
            "apply",
            [ref, self.place(stored), target, mean, scale, shift, slope, constant],
            [blocks, pixels, int(view is not None), int(lazy)],
            [view.slope if view else 1.0],
            layer=view.name if view else None,
        )
        return target

    # The operations, backwards.

    def _export(self):
        view = self.tensors.output
        stored = view.stored
        pixels = stored.height * stored.width
        target, _ = self.target(view)
        source = Ref(2, 0, stored.channels * pixels)
        self.stages.operation("import", [source, target], [stored.channels, pixels])
        self.done(view)

    def _wanted(self, view):
        return view.stored.kind != "input" or self.input_gradient

    def _conv_gradient(self, stored):
        view = stored.sources[0]
        dy = self.ready(stored, dense=True)
        self.stages.wishes.append(self.stages.wish(self.size(view.stored)[0] + self.size(stored)[0]))
        shape = convolution_shape(stored)
        weight, bias = stored.parameters["weight"], stored.parameters.get("bias")
        if id(weight) in self.targets:
            source = self.value(view, dense=True)
            outputs = [self._output(weight), self._output(bias) if bias is not None else None]
            self.stages.operation(
                "weight_gradient",
                [source, None, None, dy],
                convolution=(native.WEIGHT_GRADIENT, shape, None, outputs),
            )
        if not self._wanted(view):
            return
        if view.stored.kind == "input":
            self._input_gradient(stored, dy, shape)
            return
        self._share(view, lambda target: self._input_conv(stored, dy, target, shape[:-1] + (shape[-1] & ~1,)))

    def _input_conv(self, stored, dy, target, shape):
        weights = Ref(self.base[id(stored.parameters["weight"])])
        self.stages.operation(
            "conv", [target, None, None, dy], convolution=(native.INPUT_GRADIENT, shape, weights, None)
        )

    def _share(self, view, write):
        """Lets `write` put a share of the view's gradient where it belongs; it cannot add, nor write into a part."""
        image = self.size(view.stored)[0]
        target, add = self.target(view)
        own = target
        if add or target.stride != image:
            own = self.stages.take_scratch(image)
        write(own)
        if own is not target:
            self.stages.operation("add" if add else "copy", [own, target], [image])
        self.done(view)

    def _input_gradient(self, stored, dy, shape):
        source = self.tensors.input
        pixels = source.height * source.width
        shape = shape[:-1] + (shape[-1] & ~1,)
        plain = dataclasses.replace(self.input_target, stride=source.channels * pixels)
        self._input_conv(stored, dy, plain, shape)

    def _max_pool_gradient(self, stored):
        view = stored.sources[0]
        dy = self.ready(stored)
        source = self.value(view) if stored.kind == "max_pool" else NONE
        target, add = self.target(view)
        refs = [source, self.place(stored), dy, target]
        self.stages.operation(
            stored.kind + "_gradient", refs, window_numbers(stored, self.size(stored)[1]) + [int(add)]
        )
        self.done(view)

    _avg_pool_gradient = _max_pool_gradient

    def _gather_gradient(self, stored):
        view = stored.sources[0]
        dy = self.ready(stored)
        weight = self.gather_weight(stored)
        target, add = self.target(view)
        blocks, pixels = self._plane(view.stored)
        floats, source, sums = blocks * self.lanes * pixels, NONE, NONE
        parameter = stored.parameters.get("weight")
        if parameter is not None and id(parameter) in self.targets:
            source, sums = self.value(view), self.stages.take_per_thread(floats)
            self.stages.gradient_job(
                "gather_gradient", [sums, self._output(parameter)], [floats, view.stored.channels, pixels]
            )
        self.stages.operation("gather_gradient", [source, dy, weight, target, sums], [blocks, pixels, int(add)])
        self.done(view)

    def _join_gradient(self, stored):
        left, right = stored.sources[:2]
        gate = stored.sources[2] if len(stored.sources) > 2 else None
        dy = self.ready(stored)
        blocks, pixels = self._plane(stored)
        source = self.value(left) if gate else NONE
        target, add = self.target(left)
        refs = [source, self.place(stored), NONE, dy, target, NONE]
        if gate:
            refs[2], refs[5] = self.value(gate), self.target(gate)[0]
        self.stages.operation("join_gradient", refs, [blocks, pixels, int(add)], [stored.numbers["slope"]])
        self.done(left)
        if gate:
            self.done(gate)
        target, add = self.target(right)
        self.stages.operation("add" if add else "copy", [dy, target], [self.size(stored)[0]])
        self.done(right)

    def _affine_gradient(self, stored):
        view = stored.sources[0]
        if not self._wanted(view):
            return
        dy = self.ready(stored)
        image = self.size(stored)[0]
        if view.stored.kind == "input":
            source = view.stored
            pixels = source.height * source.width
            plain = dataclasses.replace(self.input_target, stride=source.channels * pixels)
            self.stages.operation("export", [dy, plain], [source.channels, pixels])
            return
        target, add = self.target(view)
        self.stages.operation("add" if add else "copy", [dy, target], [image])
        self.done(view)
