"""MindSpore's own allreduce as a cell of the train step."""

from mindspore import ops

from cellwright.kernels.nodes.allreduce_base import Allreduce


class CollectiveAllreduce(Allreduce):
    """Returns the sum of a tensor over all ranks. The cluster must be up, see launch/host/collectives.py."""

    def __init__(self, size, rank=0):
        super().__init__(size, rank)
        self.allreduce = ops.AllReduce()

    def construct(self, tensor):
        return self.allreduce(tensor)
