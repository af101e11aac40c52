"""One rank of test_allreduce: sums in shared memory and between pretended hosts, bit by bit, without MindSpore."""

import socket
import sys

import numpy as np
from mpi4py import MPI

from cellwright.kernels.csrc import set_threads
from cellwright.kernels.csrc.shared_group import share

COMM = MPI.COMM_WORLD
RANK, RANKS = COMM.Get_rank(), COMM.Get_size()
# More than a piece, fewer numbers than ranks, none, one that is alone.
ROWS = (((70001,), (3, 5), (2, 400, 333), (0,), (1,), (1_300_003,), ()), ((2,),), ((40_000,), (30_000,)), ((0,),))
THREADS = int(sys.argv[1])


def tensors(rank, shapes, turn):
    draw = np.random.default_rng((rank, turn))
    return [np.asarray(draw.normal(size=shape), np.float32) for shape in shapes]


def in_order(parts):
    """The sum as its order is stated: from the first to the last, each step rounded to float32."""
    total = np.array(parts[0])
    for part in parts[1:]:
        total = total + part
    return np.asarray(total)


def check(group, hosts):
    """hosts: the ranks of each host."""
    assert group.channels == THREADS and group.hosts == len(hosts) and group.owners == min(map(len, hosts))
    before = group.moved()
    numbers = 0
    for turn, shapes in enumerate((*ROWS, *ROWS)):
        given = [tensors(rank, shapes, turn) for rank in range(RANKS)]
        for k, found in enumerate(group.sum(given[RANK])):
            numbers += found.size
            exact = in_order([in_order([given[rank][k] for rank in ranks]) for ranks in hosts])
            np.testing.assert_array_equal(found, exact, strict=True)
    moved = group.moved()
    assert moved.read - before.read == moved.written - before.written == 4 * numbers, "each once read, once written"
    if len(hosts) == 1:
        shared = moved.shared_read - before.shared_read + moved.shared_written - before.shared_written
        assert COMM.allreduce(shared) == (3 * RANKS - 1) * 4 * numbers, "3 - 1 / ranks times the tensors"


def layouts():
    """Hosts as even and as uneven as these ranks can be laid out."""
    yield [0] * RANKS
    yield [int(rank >= RANKS // 2) for rank in range(RANKS)]
    yield [rank % 2 for rank in range(RANKS)]
    if RANKS > 2:
        yield [int(rank >= 1) for rank in range(RANKS)]
        yield list(range(RANKS))


def real_layout():
    """The hosts on which the ranks really are, in the order of their first ranks."""
    names = COMM.allgather(socket.gethostname())
    known = list(dict.fromkeys(names))
    return [known.index(name) for name in names]


set_threads(THREADS)
if "as they are" in sys.argv:
    layout = real_layout()
    assert len(set(layout)) > 1
    check(share(COMM), [[rank for rank in range(RANKS) if layout[rank] == host] for host in range(max(layout) + 1)])
    print("right", flush=True)
    sys.exit()
for layout in layouts():
    hosts = [[rank for rank in range(RANKS) if layout[rank] == host] for host in range(max(layout) + 1)]
    group = share(COMM, COMM.Split(layout[RANK], RANK))
    check(group, hosts)
    if len(hosts) == 1:
        try:
            group.sum([np.ones(100_000 + RANK, np.float32)])
            sys.exit("tensors of different sizes were added up")
        except RuntimeError as error:
            assert "77" in str(error)
        check(group, hosts)  # and it goes on
print("right", flush=True)
