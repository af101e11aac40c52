"""Strided convolutions whose dilation is a multiple of the stride: they see one pixel of each stride, so the others are
left out first, and what remains is a convolution without a stride. For those with one oneDNN has no input gradients.
"""

from cellwright.kernels.compiler.layers.avg_pool import AVG_POOL
from cellwright.kernels.compiler.layers.window import Padding, window


def subsampled(tensors, view, numbers, padding):
    """Returns view, numbers and padding of the convolution that is run: those given if nothing is to leave out."""
    kernel, stride, dilation = (numbers[name] for name in ("kernel", "stride", "dilation"))
    axes = list(zip(kernel, stride, dilation))
    if not any(k > 1 and s > 1 and d > 1 for k, s, d in axes) or any(k > 1 and d % s for k, s, d in axes):
        return view, numbers, padding
    stored = view.stored
    found, extents = window(stored, kernel, stride, padding, dilation)
    offsets, sizes, sides = [], [], []
    for (k, s, d), inside, out, before in zip(
        axes, (stored.height, stored.width), extents, (found["top"], found["left"])
    ):
        skipped = -(-before // s)  # pixels of the padding that are seen
        offset = skipped * s - before
        seen = out + (k - 1) * max(d // s, 1)
        size = min((inside - 1 - offset) // s + 1, seen - skipped)
        offsets.append(offset)
        sizes.append(size)
        sides += [skipped, seen - skipped - size]
    pool = {"kernel_height": 1, "kernel_width": 1, "stride_height": stride[0], "stride_width": stride[1]}
    pool |= {"top": -offsets[0], "left": -offsets[1], "count_padding": 0, "divisor": 0}
    pool |= {"padded_height": stored.height, "padded_width": stored.width}
    view = tensors.store(AVG_POOL, (stored.channels, *sizes), (view,), numbers=pool)
    closer = tuple(max(d // s, 1) for _, s, d in axes)
    return view, {**numbers, "stride": (1, 1), "dilation": closer}, Padding("pad", tuple(sides))
