"""One rank of test_shard: the optimizers' nodes where ranks of pretended hosts share the update, without a graph, and
where those of one host sum the gradients on the way.
"""

import ctypes
import dataclasses
import sys
import zlib

import numpy as np
from float_mode import small_numbers_are_zero
from mpi4py import MPI

from cellwright.kernels.csrc import set_threads
from cellwright.kernels.csrc.shared_group import share
from cellwright.kernels.csrc.shim import shim

COMM = MPI.COMM_WORLD
RANK, RANKS = COMM.Get_rank(), COMM.Get_size()
# Cut within tensors and between them, in one piece and in several, on one thread and on all.
ROWS = (((5,), (70_001,), (), (3, 33_333), (0,), (1_000_003,), (7,)), ((16 * RANKS,),), ((40_000,), (9_999,)))
SETTINGS = {
    "cellwright_momentum": ((0.9, 0.0), (0.9, 1.0)),
    "cellwright_adamw": ((0.9, 0.1, 0.99, 0.01, np.log(0.9), np.log(0.99), 1e-3, 0.0),),
}
set_threads(int(sys.argv[1]))


def call(name, *tensors):
    """Calls a node as the graph does; the last tensor is its result. Raises RuntimeError with the node's code."""
    number = len(tensors)
    pointers = (ctypes.c_void_p * number)(*(tensor.ctypes.data for tensor in tensors))
    dims = (ctypes.c_int * number)(*(tensor.ndim for tensor in tensors))
    rows = [(ctypes.c_int64 * max(1, tensor.ndim))(*tensor.shape) for tensor in tensors]
    shapes = (ctypes.c_void_p * number)(*(ctypes.addressof(row) for row in rows))
    dtypes = (ctypes.c_char_p * number)(*(str(tensor.dtype).encode() for tensor in tensors))
    code = getattr(shim()[1], name)(number, pointers, dims, shapes, dtypes, None, None)
    if code:
        raise RuntimeError(code)


def check(name, settings, shapes, group, own):
    """own: the gradients are those of each rank, and the node sums them."""
    same, of_rank = np.random.default_rng(len(shapes)), np.random.default_rng((len(shapes), RANK))

    def tensors(draw=same):
        return [np.asarray(draw.normal(size=shape), np.float32) for shape in shapes]

    weights, moments = tensors(), "adamw" in name and 2 or 1
    total = sum(weight.size for weight in weights)
    begin, end = group.part(total)
    alone = [weight.copy() for weight in weights]
    shared = [weight.copy() for weight in weights]
    whole = [np.zeros_like(weight) for _ in range(moments) for weight in weights]
    parts = [np.zeros(end - begin + 5, np.float32) for _ in range(moments)]
    about, factor = np.array([group.number, own], np.int64), np.array([0.25], np.float32)
    settings = [np.array(settings, np.float32), *same.random((2, len(shapes))).astype(np.float32)]
    result, moved = np.ones(1, np.float32), np.zeros(4, np.int64)
    for turn in range(3):
        rate, gradients = np.array([0.1 / (turn + 1)], np.float32), tensors(of_rank if own else same)
        scalars = [rate, factor] + [np.array([turn + 1], np.float32)] * (moments - 1)
        gradients[-1] *= np.float32(1e-39)  # its moments are below the least normal number
        sums, before = group.sum(gradients) if own else gradients, group.moved()
        with small_numbers_are_zero():
            call(name, *settings, *scalars, *alone, *whole, *sums, result)
            call(name.replace("_", "_shared_", 1), about, *settings, *scalars, *shared, *parts, *gradients, result)
        moved += np.subtract(dataclasses.astuple(group.moved()), dataclasses.astuple(before))
        group.sum([np.ones(12_345, np.float32)])  # through the same slots
    for one, other, was in zip(shared, alone, weights):
        np.testing.assert_array_equal(one, other, strict=True)
        assert not one.size or (one != was).any()
    for k, part in enumerate(parts):
        row = np.concatenate([moment.ravel() for moment in whole[k * len(shapes) : (k + 1) * len(shapes)]])
        np.testing.assert_array_equal(part, np.append(row[begin:end], np.zeros(5)))
    assert len(set(COMM.allgather(zlib.crc32(b"".join(one.tobytes() for one in shared))))) == 1
    count(group, moved // (3 * 4), total, end - begin, own)


def count(group, moved, total, part, own):
    """What a rank moves for an update: its part into the memory that is shared, the others' out of it; and for the sums
    all of its gradients, of which the others' parts go through that memory.
    """
    host, others = group.comm, total - part
    parts, ranks = host.allgather(part), host.Get_size()
    # For so many each has room: engine's Shard.
    assert sum(parts) == total and all(abs(one - total / ranks) < 16 + 1 for one in parts)
    read, written, shared_read, shared_written = moved
    assert written == others and read == (total if own else part)
    assert shared_read == others + own * ranks * part
    assert shared_written == part + own * total


def check_silence(group):
    """Without communication each rank moves its part alone, by its own gradients."""
    size = 1_000
    begin, end = group.part(size)
    weight, part, plain = (np.zeros(count, np.float32) for count in (size, end - begin, 2))
    gradient, one = np.full(size, RANK + 1, np.float32), np.ones(1, np.float32)
    about = np.array([group.number, group.hosts == 1], np.int64)
    shim()[1].cellwright_shared_silence(1)
    call("cellwright_shared_momentum", about, plain, 0 * one, one, one, one, weight, part, gradient, one.copy())
    shim()[1].cellwright_shared_silence(0)
    COMM.Barrier()
    np.testing.assert_array_equal(weight[begin:end], -RANK - 1)
    assert not weight[:begin].any() and not weight[end:].any()


for layout in ([0] * RANKS, [int(rank >= RANKS - 1) for rank in range(RANKS)]):
    group = share(COMM, COMM.Split(layout[RANK], RANK))
    for name, some in SETTINGS.items():
        for settings in some:
            for shapes in ROWS:
                for own in (False, True)[: 1 + (group.hosts == 1)]:
                    check(name, settings, shapes, group, own)
    check_silence(group)
    flat, part = (np.ones(size, np.float32) for size in (100_000, np.ptp(group.part(100_000))))
    one = np.ones(1, np.float32)
    plain = np.ones(2, np.float32), one, one, one, one, flat
    wrong = [("moments without room for the part", 0, part[1:])] + [("sums of one host alone", 1, part)] * (
        group.hosts > 1
    )
    for what, own, moments in wrong:
        about = np.array([group.number, own], np.int64)
        try:
            call("cellwright_shared_momentum", about, *plain, moments, flat, one)
            sys.exit(f"{what} were taken")
        except RuntimeError as error:
            assert "72" in str(error)
print("right", flush=True)
