"""The step under mpirun, in a script that has nothing but mpi4py:  mpirun -n 2 python mpi_step.py"""

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mpi4py import MPI

from cellwright.engine import AdamW, TrainOneStep
from cellwright.kernels.nodes import MpiAllreduce


class Network(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Dense(4, 16), nn.Dense(16, 1)

    def construct(self, x):
        return self.second(ops.tanh(self.first(x)))


ms.set_context(mode=ms.GRAPH_MODE)
ms.set_seed(7)  # all ranks begin with the same weights
comm = MPI.COMM_WORLD
rank, size = comm.Get_rank(), comm.Get_size()
network = Network()


def forward(x, y):
    return ops.square(network(x) - y).mean()


optimizer = AdamW(network.trainable_params(), weight_decay=0.0)
allreduce = MpiAllreduce(comm) if size > 1 else None
step = TrainOneStep(forward=forward, optimizer=optimizer, allreduce=allreduce)
draw = np.random.default_rng(0)
for _ in range(150):
    x = draw.normal(size=(30, 4)).astype(np.float32)
    y = x[:, :1] * x[:, 1:2]
    # Shares of any length: a mean over all ranks is a mean over all samples.
    mine = slice(0, 20) if rank == 0 and size > 1 else slice(20 if size > 1 else 0, None)
    report = step(x[mine], y[mine], lr=0.02)
weights = np.concatenate([p.asnumpy().ravel() for p in network.trainable_params()])
everywhere = comm.allgather(weights.tobytes())
assert len(set(everywhere)) == 1, "the ranks' weights differ"
assert report.loss < 0.3
print(f"rank {rank} of {size}: loss {report.loss:.4f}")
