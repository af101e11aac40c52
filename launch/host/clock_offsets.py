"""How the clocks of the ranks differ, from messages that go to and fro."""

import time


def offset_of(pings):
    """Returns (ns to add to the other clock to get ours, error in ns) from (sent, other's time, received) triples.

    The quickest exchange is the one that tells most: the other's time was taken somewhere within it (Cristian, 1989).
    """
    sent, other, received = min(pings, key=lambda ping: ping[2] - ping[0])
    return (sent + received) // 2 - other, (received - sent) // 2


def align(comm, rank, size, now=time.perf_counter_ns, rounds=50):
    """Returns (offset, error) in ns that puts this rank's clock on rank 0's. Collective over the communicator; (0, 0)
    for one rank."""
    if size == 1:
        return 0, 0
    mine = (0, 0)
    for other in range(1, size):
        if rank == 0:
            pings = []
            for _ in range(rounds):
                sent = now()
                comm.send(None, other, 7)
                there = comm.recv(source=other, tag=8)
                pings.append((sent, there, now()))
            comm.send(offset_of(pings), other, 9)
        elif rank == other:
            for _ in range(rounds):
                comm.recv(source=0, tag=7)
                comm.send(now(), 0, 8)
            mine = comm.recv(source=0, tag=9)
    return mine
