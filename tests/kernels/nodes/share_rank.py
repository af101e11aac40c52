"""One rank of test_allreduce: sums in shared memory and between pretended hosts, bit by bit, without MindSpore."""

import functools
import socket
import sys
import zlib

import numpy as np
from float_mode import small_numbers_are_zero
from mpi4py import MPI

from cellwright.kernels.csrc import set_threads
from cellwright.kernels.csrc.shared_group import share

COMM = MPI.COMM_WORLD
RANK, RANKS = COMM.Get_rank(), COMM.Get_size()
# More than a piece, fewer numbers than ranks, none, one that is alone.
ROWS = (((70001,), (3, 5), (2, 400, 333), (0,), (1,), (1_300_003,), ()), ((2,),), ((40_000,), (30_000,)), ((0,),))
CARRIED = (70_001, 15, 0, 1_100_003)
THREADS = int(sys.argv[1])


@functools.cache
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


def check_small(group, hosts):
    """Numbers below the least normal one, on a thread on which the framework would take them for zero."""
    small = [tensors(rank, ((1_000,), (100_000,)), 0) for rank in range(RANKS)]
    small = [[array * np.float32(1e-39) for array in arrays] for arrays in small]
    with small_numbers_are_zero():
        found = [array for own in small[RANK] for array in group.sum([own], out=[np.full_like(own, np.nan)])]
    for k, array in enumerate(found):
        exact = in_order([in_order([small[rank][k] for rank in ranks]) for ranks in hosts])
        assert exact.any()
        np.testing.assert_array_equal(array, exact)


def rounded(numbers):
    """Numbers to the nearest bfloat16, ties to even, as float32."""
    bits = numbers.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def check_carried(group, hosts):
    """Sums that travel as bfloat16: all ranks have the same, and the first rank looks at them."""
    before, total = 40, sum(CARRIED)
    carried = group.carry(before + total + 8)
    assert carried.size == before + total + 8 and not carried.any()
    kept = given_sum = found_sum = np.zeros((len(hosts), total), np.float32)
    for turn in range(2):
        given = [np.concatenate(tensors(rank, tuple((size,) for size in CARRIED), turn)) for rank in range(RANKS)]
        found = np.concatenate(group.sum(np.split(given[RANK], np.cumsum(CARRIED)[:-1]), before))
        assert len(set(COMM.allgather(zlib.crc32(found)))) == 1, "ranks differ"
        errors = [row for row in COMM.allgather(carried if group.first else None) if row is not None]
        if RANK:
            continue
        errors = np.stack(errors)
        assert not errors[:, :before].any() and not errors[:, before + total :].any(), "out of its place"
        errors = errors[:, before : before + total]
        parts = np.stack([in_order([given[rank] for rank in ranks]) for ranks in hosts])
        wrong = ~may_be(parts, kept, found, errors)
        assert not wrong.any(), f"{wrong.sum()} of {total} wrong"
        kept, given_sum, found_sum = errors, given_sum + np.sum(given, 0, np.float64), found_sum + found
    if RANK == 0:  # nothing is lost: the sums so far, and what is kept, are what was given
        np.testing.assert_allclose((found_sum + kept.sum(0, np.float64))[0], given_sum[0], atol=1e-5)
        assert np.abs(found_sum - given_sum).max() > 1e-3, "nothing was rounded"
    check_overflow(group, carried, before)


def may_be(parts, kept, found, errors):
    """For each number whether it and what is left of it are right: some host answers for it. All but found by host."""
    right, sent, everyone = np.zeros(found.size, bool), rounded(parts + kept), range(len(parts))
    for answers in everyone:
        exact = in_order([parts[host] if host == answers else sent[host] for host in everyone]) + kept[answers]
        left = parts + kept - sent
        left[answers] = exact - rounded(exact)
        right |= (rounded(exact) == found) & (left == errors).all(0)
    return right


def check_overflow(group, carried, before):
    """What is not finite arrives, and nothing of it is kept."""
    odd = np.array([np.inf, -np.inf, np.nan, 3.4e38, 1.0], np.float32) if RANK == 0 else np.zeros(5, np.float32)
    (found,) = group.sum([odd], before)
    assert np.isposinf(found[[0, 3]]).all() and np.isneginf(found[1]) and np.isnan(found[2])
    COMM.Barrier()
    assert np.isfinite(carried).all()
    if group.host == 0:
        assert not carried[before : before + 4].any()
    try:
        group.sum([odd], carried.size)
        sys.exit("sums beyond what was made room for")
    except RuntimeError as error:
        assert "81" in str(error)


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
    check_small(group, hosts)
    if len(hosts) > 1:
        check_carried(group, hosts)
        check(group, hosts)  # as they were
    else:
        assert group.carry(8) is None
        try:
            group.sum([np.ones(100_000 + RANK, np.float32)])
            sys.exit("tensors of different sizes were added up")
        except RuntimeError as error:
            assert "77" in str(error)
        check(group, hosts)  # and it goes on
print("right", flush=True)
