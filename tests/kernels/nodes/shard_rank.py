"""One rank of test_shard: the optimizers' nodes where ranks of pretended hosts share the update, without a graph."""

import ctypes
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


def check(name, settings, shapes, group):
    draw = np.random.default_rng(len(shapes))  # the same on all ranks, as gradients that were summed are

    def tensors():
        return [np.asarray(draw.normal(size=shape), np.float32) for shape in shapes]

    weights, moments = tensors(), "adamw" in name and 2 or 1
    total = sum(weight.size for weight in weights)
    begin, end = group.part(total)
    alone = [weight.copy() for weight in weights]
    shared = [weight.copy() for weight in weights]
    whole = [np.zeros_like(weight) for _ in range(moments) for weight in weights]
    parts = [np.zeros(end - begin, np.float32) for _ in range(moments)]
    number, factor = np.array([group.number], np.int64), np.array([0.25], np.float32)
    about = [np.array(settings, np.float32), *draw.random((2, len(shapes))).astype(np.float32)]
    result, before = np.ones(1, np.float32), group.moved()
    for turn in range(3):
        rate, gradients = np.array([0.1 / (turn + 1)], np.float32), tensors()
        scalars = [rate, factor] + [np.array([turn + 1], np.float32)] * (moments - 1)
        gradients[-1] *= np.float32(1e-39)  # its moments are below the least normal number
        shared_name = name.replace("_", "_shared_", 1)
        with small_numbers_are_zero():
            call(name, *about, *scalars, *alone, *whole, *gradients, result)
            call(shared_name, number, *about, *scalars, *shared, *parts, *gradients, result)
        group.sum([np.ones(12_345, np.float32)])  # through the same slots
    for one, other, was in zip(shared, alone, weights):
        np.testing.assert_array_equal(one, other, strict=True)
        assert not one.size or (one != was).any()
    for k, part in enumerate(parts):
        row = np.concatenate([moment.ravel() for moment in whole[k * len(shapes) : (k + 1) * len(shapes)]])
        np.testing.assert_array_equal(part, row[begin:end])
    assert len(set(COMM.allgather(zlib.crc32(b"".join(one.tobytes() for one in shared))))) == 1
    count(group, before, total, begin, end)


def count(group, before, total, begin, end):
    """What a rank moves to hand out an update: its part once into the memory that is shared, the others' out of it."""
    host = group.comm
    parts, moved, sums = host.allgather(end - begin), group.moved(), 3 * 4 * 12_345
    assert sum(parts) == total and max(parts) - min(parts) <= 16 + 1
    assert moved.read - before.read - sums == 3 * 4 * (end - begin)
    assert moved.written - before.written - sums == 3 * 4 * (total - (end - begin))


for layout in ([0] * RANKS, [int(rank >= RANKS - 1) for rank in range(RANKS)]):
    group = share(COMM, COMM.Split(layout[RANK], RANK))
    for name, some in SETTINGS.items():
        for settings in some:
            for shapes in ROWS:
                check(name, settings, shapes, group)
    flat, odd = np.ones(100_000, np.float32), np.ones(99_999, np.float32)
    one = np.ones(1, np.float32)
    number = np.array([group.number], np.int64)
    try:
        call("cellwright_shared_momentum", number, np.ones(2, np.float32), one, one, one, one, flat, odd, flat, one)
        sys.exit("moments of another part were taken")
    except RuntimeError as error:
        assert "72" in str(error)
print("right", flush=True)
