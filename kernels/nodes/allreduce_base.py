"""What a train step asks of the cell that sums over ranks."""

from mindspore import nn


class Allreduce(nn.Cell):
    """Base of the cells that sum float32 tensors over ranks inside a graph; override `construct`.

    size, rank: how many ranks there are, and which one this process is. several: `construct` takes any number of
    tensors and returns as many sums, and joining them first would gain nothing; else it takes one flat tensor and
    returns its sum. overlaps: it can also sum while the graph goes on: `start(tensor)` returns a tensor that will hold
    the sum, and `wait(sums, tensors)` returns the sums when all are there. carries: it may round what it sends, and
    keeps what that leaves for the next time: after `carry(sizes)`, the numbers of each bucket, `carried_sum(bucket,
    *tensors)` returns sums of this kind, and `carried` is what is kept on this host, float32 (sum of sizes,), in the
    order of the buckets, common to its ranks; hosts, host, first: how many there are, which one this is, and whether
    this is its first rank.

    Every rank must reach each call with tensors of the same shapes in the same order.
    """

    several = False
    overlaps = False
    carries = False
    carried = None

    def __init__(self, size: int, rank: int = 0):
        super().__init__(auto_prefix=False)
        self.size, self.rank = size, rank

    def construct(self, *tensors):
        raise NotImplementedError("an Allreduce must override construct")

    def carry(self, sizes):
        raise NotImplementedError("an Allreduce that carries must override carry")

    def carried_sum(self, bucket, *tensors):
        raise NotImplementedError("an Allreduce that carries must override carried_sum")

    def start(self, tensor):
        raise NotImplementedError("an Allreduce that overlaps must override start")

    def wait(self, sums, tensors):
        raise NotImplementedError("an Allreduce that overlaps must override wait")
