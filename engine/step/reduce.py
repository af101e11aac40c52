"""Sums gradients over ranks in flat buckets, in the same order on every rank."""

import itertools
import math

from mindspore import ParameterTuple, nn, ops

from cellwright.engine.step.bucket import DEFAULT_BUCKET_BYTES, plan_buckets

_CONTRACT = ("size", "several", "overlaps", "carries")


def _flatten(tensor):
    return ops.reshape(tensor, (-1,))


def _reshape_like(part, parameter):
    return ops.reshape(part, parameter.shape)


def _cut(flat, start, parameter):
    return ops.reshape(ops.slice(flat, (start,), (parameter.size,)), parameter.shape)


class Reduce(nn.Cell):
    """Sums float32 gradients and a few numbers over ranks.

    `construct(gradients, numbers)` returns the flat sums, one tensor per bucket; `split(sums)` cuts them into
    (gradients, numbers) again. Between the two a check can run on the few flat tensors. The numbers, a tuple of
    `riders` scalars, ride in the last bucket, so that every rank learns the same ones at no extra message.

    allreduce: a `kernels.nodes.Allreduce`; None for one rank: the flat tensors are then the sums. after_backward: no
    bucket starts before all gradients are there, for networks that sum over ranks themselves. An allreduce that carries
    rounds the gradients alone, the numbers it sums as they are.

    Raises TypeError for an allreduce without the attributes of that class.
    """

    def __init__(self, params, allreduce=None, bucket_bytes=DEFAULT_BUCKET_BYTES, after_backward=False, riders=3):
        super().__init__(auto_prefix=False)
        missing = [name for name in _CONTRACT if not hasattr(allreduce, name)] if allreduce is not None else []
        if missing:
            raise TypeError(
                f"allreduce = {type(allreduce).__name__}: it has no {', '.join(missing)}; "
                "derive it from cellwright.kernels.nodes.Allreduce"
            )
        self.allreduce, self.after_backward, self.riders = allreduce, after_backward, riders
        self.can_overlap = allreduce is not None and allreduce.overlaps and not after_backward
        self.set_overlap(self.can_overlap)
        self.params = ParameterTuple(params)
        # Buckets are consecutive runs of the reversed parameter list: (from, to) in that list.
        plan = plan_buckets([math.prod(parameter.shape) for parameter in self.params], bucket_bytes)
        counts = [len(bucket.indices) for bucket in plan]
        self.bounds = tuple((sum(counts[:k]), sum(counts[: k + 1])) for k in range(len(counts)))
        self.carries = allreduce is not None and allreduce.carries
        if self.carries:
            allreduce.carry([bucket.elements for bucket in plan])
        self.starts = tuple(tuple(itertools.accumulate(bucket.sizes[:-1], initial=0)) for bucket in plan)
        self.reversed_params = tuple(self.params)[::-1]
        self.map = ops.HyperMap()

    def set_overlap(self, on):
        """Lets the buckets travel while the graph goes on, from the next time that it is compiled; or not."""
        self.overlaps = on and self.can_overlap
        self.several = self.allreduce is not None and self.allreduce.several and not self.overlaps

    def construct(self, gradients, numbers):
        flat = self.map(_flatten, gradients)[::-1]
        sums, given = (), ()
        for number in range(len(self.bounds)):
            first, end = self.bounds[number]
            parts = flat[first:end]
            if number == len(self.bounds) - 1 and not self.carries:
                parts = parts + self.map(_flatten, numbers)
            if self.several or len(parts) == 1:
                bucket = parts
            else:
                bucket = (ops.concat(parts),)
            if self.after_backward:
                bucket = (ops.depend(bucket[0], flat),) + bucket[1:]
            if number > 0:
                # The runtime may start independent kernels in any order; a collective needs the same on all ranks.
                bucket = (ops.depend(bucket[0], sums[-1]),) + bucket[1:]
            if self.allreduce is None:
                sums = sums + bucket
            elif self.overlaps:
                sums, given = sums + (self.allreduce.start(bucket[0]),), given + bucket
            elif len(bucket) == 1:
                sums = sums + (self.sum_up(number, bucket),)
            else:
                sums = sums + self.sum_up(number, bucket)
        if self.carries:
            return sums + self.sum_alone(numbers, sums[-1])
        return self.allreduce.wait(sums, given) if self.overlaps else sums

    def sum_alone(self, numbers, before):
        """Returns the sums of numbers as they are, flat, after what is to come before."""
        numbers = self.map(_flatten, numbers)
        return self.allreduce(ops.depend(numbers[0], before), *numbers[1:])

    def sum_numbers(self, numbers, gradients):
        """Returns the sums of the numbers alone, when all gradients are there."""
        return self.map(_first, self.sum_alone(numbers, gradients))

    def sum_up(self, number, bucket):
        if self.carries:
            return self.allreduce.carried_sum(number, *bucket)
        return self.allreduce(*bucket)

    def split(self, sums):
        """Returns (gradients, numbers) of what `construct` returned."""
        if self.several:
            gradients = self.map(_reshape_like, sums[: -self.riders][::-1], self.params)
            return gradients, self.map(_first, sums[-self.riders :])
        # A slice for each, mapped: ops.split and loops nest the compiler's calls once a tensor, and it gives up at
        # 1,000.
        gradients = ()
        for number in range(len(self.bounds)):
            first, end = self.bounds[number]
            # Not a partial of the sums: MindSpore takes two of one shape for the same, and both get the first sums.
            flat = (sums[number],) * (end - first)
            gradients = gradients + self.map(_cut, flat, self.starts[number], self.reversed_params[first:end])
        last = sums[-1]
        numbers = ()
        for number in range(self.riders):
            numbers = numbers + (ops.reshape(last[last.shape[0] - self.riders + number], ()),)
        return gradients[::-1], numbers


def _first(tensor):
    return ops.reshape(tensor, ())
