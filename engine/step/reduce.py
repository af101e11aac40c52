"""Sums gradients over ranks in flat buckets, in the same order on every rank."""

import itertools
import math

from mindspore import ParameterTuple, nn, ops

from cellwright.engine.step.bucket import DEFAULT_BUCKET_BYTES, plan_buckets


def _flatten(tensor):
    return ops.reshape(tensor, (-1,))


def _reshape_like(part, parameter):
    return ops.reshape(part, parameter.shape)


def _cut(flat, start, parameter):
    return ops.reshape(ops.slice(flat, (start,), (parameter.size,)), parameter.shape)


class Reduce(nn.Cell):
    """Sums float32 gradients, the loss and a vote over ranks.

    `construct(gradients, loss, vote)` returns the flat sums, one tensor per bucket; `split(sums)` cuts them into
    (gradients, loss, vote) again. Between the two a check can run on the few flat tensors. Loss and vote ride in the
    last bucket, so that every rank learns the same numbers at no extra message.

    allreduce: a cell or function, flat float32 tensor -> its sum over ranks, with the rank count in `.size`; None for
    one rank: the flat tensors are then the sums. after_backward: no bucket starts before all gradients are there, for
    networks that sum over ranks themselves. An allreduce with `several = True` takes a bucket's tensors as they are and
    returns a tuple: nothing is joined and cut again. One with `overlaps = True` is given each bucket by `start`, and `wait`
    is called when all are on their way: early buckets travel while backward goes on.
    """

    def __init__(self, params, allreduce=None, bucket_bytes=DEFAULT_BUCKET_BYTES, after_backward=False):
        super().__init__(auto_prefix=False)
        self.allreduce, self.after_backward = allreduce, after_backward
        self.several = getattr(allreduce, "several", False)
        self.overlaps = getattr(allreduce, "overlaps", False) and not after_backward
        self.params = ParameterTuple(params)
        # Buckets are consecutive runs of the reversed parameter list: (from, to) in that list.
        plan = plan_buckets([math.prod(parameter.shape) for parameter in self.params], bucket_bytes)
        counts = [len(bucket.indices) for bucket in plan]
        self.bounds = tuple((sum(counts[:k]), sum(counts[: k + 1])) for k in range(len(counts)))
        self.starts = tuple(tuple(itertools.accumulate(bucket.sizes[:-1], initial=0)) for bucket in plan)
        self.reversed_params = tuple(self.params)[::-1]
        self.map = ops.HyperMap()

    def construct(self, gradients, loss, vote):
        flat = self.map(_flatten, gradients)[::-1]
        sums, given = (), ()
        for number in range(len(self.bounds)):
            first, end = self.bounds[number]
            parts = flat[first:end]
            if number == len(self.bounds) - 1:
                parts = parts + (_flatten(loss), _flatten(vote))
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
                sums = sums + (self.allreduce(bucket[0]),)
            else:
                sums = sums + self.allreduce(*bucket)
        return self.allreduce.wait(sums, given) if self.overlaps else sums

    def split(self, sums):
        if self.several:
            gradients = self.map(_reshape_like, sums[:-2][::-1], self.params)
            return gradients, ops.reshape(sums[-2], ()), ops.reshape(sums[-1], ())
        # A slice for each, mapped: ops.split and loops nest the compiler's calls once a tensor, and it gives up at 1,000.
        gradients = ()
        for number in range(len(self.bounds)):
            first, end = self.bounds[number]
            cut = ops.partial(_cut, sums[number])
            gradients = gradients + self.map(cut, self.starts[number], self.reversed_params[first:end])
        last = sums[-1]
        end = last.shape[0]
        return gradients[::-1], ops.reshape(last[end - 2], ()), ops.reshape(last[end - 1], ())
