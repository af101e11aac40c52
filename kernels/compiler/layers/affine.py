"""A copy of a view: its norm and activation computed once and kept, or the input brought into blocks."""

from cellwright.kernels.compiler.layers import cost
from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.tensors import PLAIN, STORED


class Affine(Kind):
    name = "affine"

    def forward(self, plan, stored):
        view, place = stored.sources[0], plan.place(stored)
        source = view.stored
        if source.layout == PLAIN:
            plain = plan.input_tensor(source)
            plane = {"channels": source.channels, "pixels": source.pixels, "form": STORED}
            plan.operation("import", source=plain, target=place, **plane)
        else:
            arrays = plan.arrays(view)
            plan.operation(
                "affine",
                source=plan.place(source),
                target=place,
                slope=view.slope,
                **arrays,
                **plan.plane_in(stored, STORED),
            )

    def backward(self, plan, stored):
        view = stored.sources[0]
        if not plan.needs(view):
            return
        gradient = plan.ready(stored)
        if view.stored.layout == PLAIN:
            plan.give_input(view.stored, gradient)
        else:
            plan.pass_on(view, gradient)


AFFINE = Affine()
COSTS = {
    "affine": cost.passes(2, 3),
    "apply": cost.passes(3, 8),
    "copy": cost.passes(2, 0),
    "add": cost.passes(3, 1),
    "round": cost.passes(2, 0),
    "unpack": cost.passes(2, 0),
}
