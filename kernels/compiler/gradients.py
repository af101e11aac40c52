"""Keeps the account of gradients on the backward pass: where each one lies, who has added its share, when it is
whole.
"""

from cellwright.kernels.compiler.operands import BACKWARD, Operands
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import PLAIN, STORED


class Gradients(Operands):
    """Gradients of stored tensors and views.

    Each stored tensor has at most one gradient in memory. If its only use is one view act(norm(.)), it is the view's
    gradient, and norm and activation are applied where it is read. Else each view's share is added up, and the part of
    a norm's gradient that needs sums over the batch, which is linear in the tensor itself, is put off: its two
    coefficients a channel are added up over all norms of the tensor and applied once.
    """

    direction = BACKWARD

    def __init__(self, tensors, *arguments, **settings):
        super().__init__(tensors, *arguments, **settings)
        self._gradients = {}  # root -> Ref
        self._written = set()  # leaves whose gradient has been begun, and views
        self._pending = {view: view.consumers for stored in tensors.stored for view in stored.views}
        self._coefficients = {}  # root -> slope and constant of the linear part
        self._reduced = {}  # leaf or view -> the last stage in which a norm's sums were taken
        self._own = {}  # view -> its gradient, where the stored tensor's has other shares too

    def sole_view(self, stored):
        """Returns the view whose gradient stands in place of that of the tensor, or None."""
        if stored.whole is None and not stored.parts and len(stored.views) == 1 and not stored.views[0].plain:
            return stored.views[0]
        return None

    def reached(self, stored):
        """True if a gradient has come to this tensor."""
        return stored in self._written or self.sole_view(stored) in self._written

    def release(self, stored):
        """To be called when all that a tensor is computed from is done: its gradient's memory can be used again."""
        root = stored.root()[0]
        first = min(root.leaves(), key=self.tensors.stored.index)  # the last one that the backward comes to
        if stored is first and root in self._gradients and root.layout != PLAIN:
            self.stages.work.release(self._gradients.pop(root).offset)

    def gradient(self, stored):
        """Returns where the gradient of a stored tensor lies."""
        root, channel = stored.root()
        if root not in self._gradients:
            self._gradients[root] = self.stages.take_work(self.floats(root))
        return self.part(self._gradients[root], stored, channel)

    def target(self, view):
        """Returns where an operation puts its share of a view's gradient, and whether it has to add it."""
        stored = view.stored
        if view.plain or self.sole_view(stored) is view:
            ref, marks = self.gradient(stored), [view] if not view.plain else stored.leaves()
        else:
            if view not in self._own:
                several = view.consumers > 1
                image = self.floats(stored)
                self._own[view] = self.stages.take_work(image) if several else self.stages.take_scratch(image)
            ref, marks = self._own[view], [view]
        return ref, self._begun(marks)

    def _begun(self, marks):
        begun = [mark in self._written for mark in marks]
        if any(begun) and not all(begun):
            raise Untraceable("a concatenation of which only a part is used elsewhere")
        self._written.update(marks)
        return begun[0]

    def give(self, view, kind, **arguments):
        """Adds an operation that puts a share of a view's gradient where it belongs, or adds it to what is there."""
        target, add = self.target(view)
        self.operation(kind, target=target, add=int(add), **arguments)
        self.done(view)

    def done(self, view):
        """To be called after each share of a view's gradient; after the last one the norm's sums are taken."""
        self._pending[view] -= 1
        if self._pending[view] or view.plain:
            return
        stored = view.stored
        sole = self.sole_view(stored) is view
        if sole and view.norm is None:
            return
        partial = self.stages.take_per_thread(self.padded(stored) * 4)
        keep, kept = (0, NONE) if sole else (1 + self._begun(stored.leaves()), self.gradient(stored))
        self.operation(
            "norm_reduce",
            layer=view.name,
            gradient=self.gradient(stored) if sole else self._own[view],
            source=self.place(stored),
            partial=partial,
            kept=kept,
            keep=keep,
            slope=view.slope,
            **self.arrays(view),
            **self.plane(stored),
        )
        if not sole and view.consumers > 1:
            self.stages.work.release(self._own[view].offset)
        if view.norm is None:
            return
        view.norm.kind.backward_sums(self, view, partial)
        for mark in stored.leaves():
            self._reduced[mark] = self.stages.number

    def linear_part(self, view):
        """Returns where a norm's slope and constant go, whether they are added to what is there, and the root they
        belong to.
        """
        stored = view.stored
        root, channel = stored.root()
        if root not in self._coefficients:
            padded = self.padded(root)
            self._coefficients[root] = [self.stages.take_lasting(padded) for _ in range(2)]
        slope, constant = (ref.at(channel) for ref in self._coefficients[root])
        return slope, constant, self._begun([(leaf, "linear") for leaf in stored.leaves()]), root

    def ready(self, stored, dense=False, form=STORED):
        """Returns where the whole gradient of a stored tensor is found in this stage, in a form; dense: with the images
        of a chunk side by side.
        """
        image, view = self.floats(stored, form), self.sole_view(stored)
        if self._reduced.get(stored, -1) == self.stages.number:
            self.stages.close()
        gradient = self.gradient(stored)
        linear = (stored, "linear") in self._written
        if view is None and not linear:
            if form == STORED and (not dense or gradient.stride == image):
                return gradient
            target = self.stages.take_scratch(image)
            if form == STORED:
                self.operation("copy", source=gradient, target=target, floats=image)
            else:
                self.operation("affine", source=gradient, target=target, slope=1.0, **self.plane_in(stored, form))
            return target
        root, channel = stored.root()
        slope, constant = (r.at(channel) for r in self._coefficients[root]) if linear else (NONE, NONE)
        if view is not None:
            arrays = self.arrays(view)
        else:
            arrays = {"mean": self.saved.statistics[root][0].at(channel), "scale": NONE, "shift": NONE}
        target = self.stages.take_scratch(image)
        self.operation(
            "apply",
            layer=view.name if view else None,
            gradient=gradient,
            source=self.place(stored),
            target=target,
            slopes=slope,
            constants=constant,
            activated=int(view is not None),
            linear=int(linear),
            slope=view.slope if view else 1.0,
            **arrays,
            **self.plane_in(stored, form),
        )
        return target

    def share(self, view, write, form=STORED):
        """Lets `write` put a share of the view's gradient where it belongs; it writes in a form, and cannot add, nor
        write into a part.
        """
        image = self.floats(view.stored, form)
        target, add = self.target(view)
        own = target
        if form != STORED or add or target.stride != image:
            own = self.stages.take_scratch(image)
        write(own)
        if own is not target:
            self.settle(view.stored, own, target, form, add)
        self.done(view)

    def pass_on(self, view, gradient):
        """Adds a gradient that is there to that of a view."""
        target, add = self.target(view)
        self.operation("add" if add else "copy", source=gradient, target=target, floats=self.floats(view.stored))
        self.done(view)
