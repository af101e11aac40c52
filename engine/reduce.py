"""Sums gradients over ranks in flat buckets, in the same order on every rank."""

from mindspore import nn, ops

from engine.bucket import DEFAULT_BUCKET_BYTES, plan_buckets


class Reduce(nn.Cell):
    """Sums float32 gradients, the loss and a vote over ranks.

    `construct(gradients, loss, vote)` returns the flat sums, one tensor per bucket; `split(sums)` cuts them into
    (gradients, loss, vote) again. Between the two a check can run on the few flat tensors. Loss and vote ride in the
    last bucket, so that every rank learns the same numbers at no extra message.

    allreduce: a cell or function, flat float32 tensor -> its sum over ranks, with the rank count in `.size`.
    """

    def __init__(self, shapes, allreduce, bucket_bytes=DEFAULT_BUCKET_BYTES):
        super().__init__(auto_prefix=False)
        self.allreduce = allreduce
        self.shapes = tuple(tuple(shape) for shape in shapes)
        sizes = []
        for shape in self.shapes:
            size = 1
            for extent in shape:
                size *= extent
            sizes.append(size)
        self.plan = plan_buckets(sizes, bucket_bytes)
        self.indices = tuple(bucket.indices for bucket in self.plan)
        self.starts = tuple(
            tuple(sum(bucket.sizes[:k]) for k in range(len(bucket.sizes) + 1)) for bucket in self.plan
        )
        # (bucket, place in it) of every gradient, in parameter order
        places = {index: (b, k) for b, bucket in enumerate(self.plan) for k, index in enumerate(bucket.indices)}
        self.places = tuple(places[index] for index in range(len(sizes)))

    def construct(self, gradients, loss, vote):
        sums = ()
        last = len(self.indices) - 1
        for number in range(len(self.indices)):
            parts = ()
            for index in self.indices[number]:
                parts = parts + (ops.reshape(gradients[index], (-1,)),)
            if number == last:
                parts = parts + (ops.reshape(loss, (1,)), ops.reshape(vote, (1,)))
            flat = parts[0] if len(parts) == 1 else ops.concat(parts)
            if number > 0:
                # The runtime may start independent kernels in any order; a collective needs the same on all ranks.
                flat = ops.depend(flat, sums[number - 1])
            sums = sums + (self.allreduce(flat),)
        return sums

    def split(self, sums):
        gradients = ()
        for index in range(len(self.shapes)):
            bucket, k = self.places[index]
            starts = self.starts[bucket]
            part = sums[bucket][starts[k] : starts[k + 1]]
            gradients = gradients + (ops.reshape(part, self.shapes[index]),)
        last = len(self.starts) - 1
        end = self.starts[last][-1]
        return gradients, sums[last][end], sums[last][end + 1]
