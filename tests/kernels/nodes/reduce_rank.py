"""One rank of test_allreduce: sums of several tensors through every back end, checked by each rank."""

import sys

import mindspore
import numpy as np
from mpi4py import MPI
from step_cells import LateSums, Sums

from cellwright.kernels.nodes import MpiAllreduce

COMM = MPI.COMM_WORLD
mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target="CPU")


def tensors(rank):
    draw = np.random.default_rng(rank)
    return [draw.normal(size=shape).astype(np.float32) for shape in ((70001,), (3, 5), (2, 400, 333), (1,))]


for shared in (True, False):
    allreduce = MpiAllreduce(COMM, shared=shared)
    assert allreduce.shared is shared and allreduce.size == COMM.Get_size()
    cell = Sums(allreduce)
    for _ in range(3):
        sums = cell(*map(mindspore.Tensor, tensors(COMM.Get_rank())))
    for k, found in enumerate(sums):
        expected = sum(tensors(rank)[k].astype(np.float64) for rank in range(COMM.Get_size()))
        np.testing.assert_allclose(found.asnumpy(), expected, rtol=1e-5, atol=1e-5)
        assert len({row.tobytes() for row in COMM.allgather(found.asnumpy())}) == 1, "ranks differ"
    np.testing.assert_array_equal(cell(mindspore.Tensor(np.ones(9, np.float32))).asnumpy(), COMM.Get_size())
allreduce = MpiAllreduce(COMM, shared=False, overlap=True)
assert allreduce.overlaps and not MpiAllreduce(COMM, overlap=True).overlaps
late = LateSums(allreduce)
for turn in range(4):
    draw = np.random.default_rng(10 * turn + COMM.Get_rank())
    given = [draw.normal(size=shape).astype(np.float32) for shape in ((200003,), (3, 5), (64, 64))]
    found = [tensor.asnumpy() for tensor in late(*map(mindspore.Tensor, given))]
    given[2] = given[2] @ given[2]
    for tensor, own in zip(found, given):
        np.testing.assert_allclose(tensor, sum(COMM.allgather(own.astype(np.float64))), rtol=1e-4, atol=1e-4)
        assert len({row.tobytes() for row in COMM.allgather(tensor)}) == 1, "ranks differ"
if "mismatch" in sys.argv:
    cell = Sums(MpiAllreduce(COMM))
    try:
        cell(mindspore.Tensor(np.ones(5 + COMM.Get_rank(), np.float32)))
        sys.exit("tensors of different sizes were added up")
    except RuntimeError as error:
        assert "77" in str(error)
print("right", flush=True)
