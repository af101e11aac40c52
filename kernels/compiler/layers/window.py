"""Where the windows of convolutions and pools lie."""

import dataclasses

from cellwright.kernels.compiler.layers.kind import Kind
from cellwright.kernels.compiler.schedule import NONE
from cellwright.kernels.compiler.symbols import Untraceable
from cellwright.kernels.compiler.tensors import Deferred


@dataclasses.dataclass(frozen=True)
class Padding:
    """What lies round an image: `mode` "valid", "same", or "pad" with (top, bottom, left, right)."""

    mode: str = "valid"
    sides: tuple = (0, 0, 0, 0)

    def more(self, sides):
        """Returns what lies round an image that has zeros on its (top, bottom, left, right) already."""
        if self.mode == "same":
            raise Untraceable("zeros round an image, and the padding `same` behind them")
        own = self.sides if self.mode == "pad" else (0, 0, 0, 0)
        return Padding("pad", tuple(a + b for a, b in zip(own, sides)))

    def extent(self, size, kernel, stride, axis, ceil=False):
        """Returns the output size along an axis (0 height, 1 width), and the padding before and after.

        kernel: pixels from the first to the last one that a window sees. ceil: a window that does not fit counts too,
        if it begins inside the image or the padding before it.
        """
        if self.mode == "same":
            out = -(-size // stride)
            whole = max((out - 1) * stride + kernel - size, 0)
            return out, whole // 2, whole - whole // 2
        before, after = self.sides[2 * axis : 2 * axis + 2] if self.mode == "pad" else (0, 0)
        room = size + before + after - kernel
        if room < 0:
            return 0, before, after
        out = (-(-room // stride) if ceil else room // stride) + 1
        if ceil and (out - 1) * stride >= size + before:
            out -= 1
        return out, before, after


class ZeroPadded(Deferred):
    """A view with zeros round it: (top, bottom, left, right)."""

    def __init__(self, view, sides):
        self.view, self.sides = view, sides


def pair(value):
    """Returns a setting that is a number or a tuple as (height, width)."""
    if isinstance(value, (tuple, list)):
        if len(value) == 1:
            value = value * 2
        height, width = value[-2:]
        if any(number != 1 for number in value[:-2]):
            raise Untraceable(f"windows over the channels: {value}")
        return int(height), int(width)
    return int(value), int(value)


def window(stored, kernel, stride, padding, dilation=(1, 1), ceil=False):
    """Returns the numbers of a window over a stored tensor by the names of the table, and the output's (height,
    width).
    """
    seen = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    height, top, bottom = padding.extent(stored.height, seen[0], stride[0], 0, ceil)
    width, left, right = padding.extent(stored.width, seen[1], stride[1], 1, ceil)
    numbers = {
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": stride[0],
        "stride_width": stride[1],
        "top": top,
        "left": left,
        "padded_height": top + stored.height + bottom,
        "padded_width": left + stored.width + right,
    }
    return numbers, (height, width)


# Of a convolution's window, by the names of the table.
NUMBERS = (
    "kernel_height", "kernel_width", "stride_height", "stride_width", "dilation_height", "dilation_width",
    "top", "left",
)  # fmt: skip


def plane(plan, stored):
    """Returns the numbers of source and target of a window, by the names of the table."""
    source = stored.sources[0].stored
    return {
        "blocks": plan.blocks(stored),
        "height": source.height,
        "width": source.width,
        "out_height": stored.height,
        "out_width": stored.width,
    }


def sums(plan, stored):
    """Returns where a thread adds up the gradient of a block of channels in float32, if it is stored as bfloat16."""
    if not plan.bfloat16:
        return NONE
    memory = plan.stages.take_per_thread(plan.lanes * stored.pixels)
    plan.stages.work.release(memory.offset)  # with the end of this stage
    return memory


class Windowed(Kind):
    """A layer whose operation and that of its gradient are called as the layer is, and take its numbers and `plane`."""

    def forward(self, plan, stored):
        source, target = plan.value(stored.sources[0]), plan.place(stored)
        plan.operation(self.name, source=source, target=target, **stored.numbers, **plane(plan, stored))

    def backward(self, plan, stored):
        view = stored.sources[0]
        if plan.needs(view):
            gradient, numbers = plan.ready(stored), stored.numbers | plane(plan, stored)
            plan.give(view, f"{self.name}_gradient", gradient=gradient, sums=sums(plan, view.stored), **numbers)
