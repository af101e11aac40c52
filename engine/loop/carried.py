"""What sums that round have kept for the next step, for checkpoints: a row for each host, in its ranks' memory."""

import numpy as np

NAME = "carried_per_host"


def carried_rows(allreduce, world):
    """Returns (hosts, n) float32 on rank 0, None elsewhere and where an allreduce carries nothing. Collective.

    One host after the other, so that no rank but the first holds more than its own.
    """
    if allreduce is None or allreduce.carried is None:
        return None
    rows = []
    for host in range(allreduce.hosts):
        mine = allreduce.first and host == allreduce.host
        row = world.allreduce(allreduce.carried if mine else np.zeros_like(allreduce.carried))
        rows += [row] * (allreduce.rank == 0)
    return np.stack(rows) if rows else None


def load_carried(allreduce, rows, world):
    """Sets what an allreduce carries, if it does, from the rows of as many hosts, or None for nothing. Collective.

    Of another number of hosts the first one takes all: what counts is the sum, and no step is the same to the bit then.
    """
    if allreduce is None or allreduce.carried is None:
        return
    if rows is None:
        rows = np.zeros((0, allreduce.carried.size), np.float32)
    if len(rows) != allreduce.hosts:
        others = np.zeros((allreduce.hosts - 1, rows.shape[1]), np.float32)
        rows = np.concatenate([rows.sum(0, dtype=np.float32)[None], others])
    if allreduce.first:
        allreduce.carried[:] = rows[allreduce.host]
    world.allreduce(np.zeros(1, np.int64))  # nobody sums before all are there
