"""Plans which gradients travel together in one allreduce: a pure function of their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

# One bucket of this size is large enough that latency is noise, and small enough that several overlap with backward.
DEFAULT_BUCKET_BYTES = 25 << 20


@dataclass(frozen=True)
class Bucket:
    """indices: positions of the tensors in the parameter list, in the order in which backward finishes them."""

    indices: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def elements(self) -> int:
        return sum(self.sizes)


def plan_buckets(sizes: Sequence[int], bucket_bytes: int = DEFAULT_BUCKET_BYTES, itemsize: int = 4) -> tuple:
    """Returns the buckets, a tuple of Bucket, that hold every tensor once, last tensor first.

    sizes: number of elements of each tensor in forward order; backward makes the last gradient first. A bucket is
    closed before it would pass `bucket_bytes`; a tensor larger than that gets a bucket of its own and is not copied.
    """
    if bucket_bytes < itemsize:
        raise ValueError(f"bucket_bytes = {bucket_bytes}: must be at least one element, {itemsize} bytes")
    buckets: list[Bucket] = []
    indices: list[int] = []

    def close():
        if indices:
            buckets.append(Bucket(tuple(indices), tuple(sizes[i] for i in indices)))
            indices.clear()

    filled = 0
    for index in reversed(range(len(sizes))):
        nbytes = sizes[index] * itemsize
        if filled and filled + nbytes > bucket_bytes:
            close()
            filled = 0
        indices.append(index)
        filled += nbytes
    close()
    return tuple(buckets)


def explain_buckets(
    names: Sequence[str], sizes: Sequence[int], bucket_bytes: int = DEFAULT_BUCKET_BYTES, itemsize: int = 4
) -> str:
    """Returns the bucket plan as lines of text: number, MB, tensors, first and last parameter name."""
    lines = []
    for number, bucket in enumerate(plan_buckets(sizes, bucket_bytes, itemsize)):
        first, last = names[bucket.indices[0]], names[bucket.indices[-1]]
        size = f"{bucket.elements * itemsize / 1e6:.2f} MB, {len(bucket.indices)} tensors"
        lines.append(f"bucket {number}: {size}, {first} .. {last}")
    return "\n".join(lines)
