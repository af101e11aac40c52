"""One rank of test_allreduce: sums of several tensors in a graph through every back end, checked by each rank."""

import mindspore
import numpy as np
from mpi4py import MPI
from step_cells import Buckets, LateSums, Sums

from cellwright.engine.step.reduce import Reduce
from cellwright.kernels.nodes import MpiAllreduce, silence

COMM = MPI.COMM_WORLD
RANK, RANKS = COMM.Get_rank(), COMM.Get_size()
mindspore.set_context(mode=mindspore.GRAPH_MODE, device_target="CPU")


def tensors(rank, shapes=((70001,), (3, 5), (2, 400, 333), (1,), ())):
    draw = np.random.default_rng(rank)
    return [np.asarray(draw.normal(size=shape), np.float32) for shape in shapes]


def alike(arrays):
    return len(set(COMM.allgather(b"".join(array.tobytes() for array in arrays)))) == 1


def check(allreduce):
    assert allreduce.size == RANKS
    cell = Sums(allreduce)
    for _ in range(3):
        sums = [tensor.asnumpy() for tensor in cell(*map(mindspore.Tensor, tensors(RANK)))]
    for k, found in enumerate(sums):
        expected = sum(tensors(rank)[k].astype(np.float64) for rank in range(RANKS))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert alike(sums), "ranks differ"
    np.testing.assert_array_equal(cell(mindspore.Tensor(np.ones(9, np.float32))).asnumpy(), RANKS)


def check_buckets(allreduce):
    """Of buckets that look alike each must come back with its own sums."""
    shapes = ((64, 32, 3, 3), (8,), (64, 32, 3, 3), (8,), (64, 32, 3, 3))
    params = [mindspore.Parameter(np.zeros(shape, np.float32), name=f"p{k}") for k, shape in enumerate(shapes)]
    cell = Buckets(Reduce(params, allreduce, 4 * 64 * 32 * 9))
    numbers = tuple(mindspore.Tensor(np.float32(k)) for k in (5, 6, 7))
    given = mindspore.mutable(tuple(map(mindspore.Tensor, tensors(RANK, shapes))))
    found, riders = cell(given, mindspore.mutable(numbers))
    for k, tensor in enumerate(found):
        expected = sum(tensors(rank, shapes)[k].astype(np.float64) for rank in range(RANKS))
        np.testing.assert_allclose(tensor.asnumpy(), expected, rtol=1e-5, atol=1e-5, err_msg=f"parameter {k}")
    assert [float(number) for number in riders] == [5 * RANKS, 6 * RANKS, 7 * RANKS]


def check_silence(late):
    """Without communication the sums are the tensors themselves, those on their way in the background too."""
    given = tensors(RANK, ((200003,), (3, 5), (64, 64)))
    with silence():
        found = [tensor.asnumpy() for tensor in late(*map(mindspore.Tensor, given))]
    for tensor, own in zip(found[:2], given):
        np.testing.assert_array_equal(tensor, own)
    COMM.Barrier()


def check_late(allreduce):
    late = LateSums(allreduce)
    for turn in range(4):
        given = tensors(10 * turn + RANK, ((200003,), (3, 5), (64, 64)))
        found = [tensor.asnumpy() for tensor in late(*map(mindspore.Tensor, given))]
        given[2] = given[2] @ given[2]
        for tensor, own in zip(found, given):
            np.testing.assert_allclose(tensor, sum(COMM.allgather(own.astype(np.float64))), rtol=1e-4, atol=1e-4)
        assert alike(found), "ranks differ"
    check_silence(late)


whole = MpiAllreduce(COMM, overlap=True)
assert whole.shared and whole.several and not whole.overlaps and whole.group.hosts == 1
check(whole)
flat = MpiAllreduce(COMM, shared=False, overlap=True)
assert not flat.shared and not flat.several and not flat.overlaps
check(flat)
check_buckets(flat)
host = COMM.Split(RANK // 2, RANK) if RANKS > 2 else COMM.Split(RANK, RANK)  # hosts of two and one, and of one and one
hosts = MpiAllreduce(COMM, overlap=True, host=host)
assert hosts.shared and hosts.overlaps and hosts.group.hosts == 2
check(hosts)
check_late(hosts)
check_buckets(hosts)
print("right", flush=True)
