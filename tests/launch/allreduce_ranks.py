"""Sums of tensors over the ranks by both nodes, each told by rank 0 in one line."""

import sys

import numpy as np

from cellwright.launch.host.mpi_world import open_world
from cellwright.launch.host.runtime import quiet_environment, start_mindspore


def main():
    world = open_world()
    quiet_environment(1)
    start_mindspore("CPU", 0, 1, seed=1)
    import mindspore as ms

    from cellwright.kernels.nodes import MpiAllreduce

    numbers = np.arange(100_000, dtype=np.float32)
    for shared in (False, True):
        node = MpiAllreduce(world.comm, shared=shared)
        total = node(ms.Tensor(numbers * (world.rank + 1))).asnumpy()
        right = np.array_equal(total, numbers * world.size * (world.size + 1) / 2)
        told = world.allgather_object((right, bool(node.shared)))
        if world.rank == 0:
            print(f"shared {shared}: {all(right for right, _ in told)} {[used for _, used in told]}")


if __name__ == "__main__":
    sys.exit(main())
