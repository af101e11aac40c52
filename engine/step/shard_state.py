"""An optimizer's state that ranks share: whole in checkpoints, so that any number of ranks goes on from them."""

import numpy as np

_BLOCK = 1 << 20  # numbers that travel together: no rank but the first holds more than its own part and a block


def whole_rows(optimizer, world):
    """Returns, on rank 0, {prefix: row} of what an optimizer's shards hold together, float32 (total,); elsewhere {}.

    Collective; ValueError where there are shards and no world.
    """
    rows, shard = {}, optimizer.shard
    if shard is not None and world is None:
        raise ValueError("checkpoints of an optimizer with shards need the world of its ranks (world=)")
    for prefix, parameter in optimizer.sharded.items():
        own, row = shard.part(parameter).view(np.int32), None  # sums of integers: 0 + -0.0 would be 0.0
        if world.rank == 0:
            row = rows.setdefault(prefix, np.empty(shard.total, np.float32)).view(np.int32)
        for start in range(0, shard.total, _BLOCK):
            block = np.zeros(min(_BLOCK, shard.total - start), np.int32)
            begin, end = max(start, shard.begin), min(start + len(block), shard.end)
            if shard.group.host == 0 and begin < end:
                block[begin - start : end - start] = own[begin - shard.begin : end - shard.begin]
            block = world.allreduce(block)
            if row is not None:
                row[start : start + len(block)] = block
    return rows


def own_rows(optimizer):
    """Returns {prefix: row} of what this rank holds of an optimizer's shards, zeros elsewhere."""
    rows = {}
    for prefix, parameter in optimizer.sharded.items():
        rows[prefix] = np.zeros(optimizer.shard.total, np.float32)
        rows[prefix][optimizer.shard.begin : optimizer.shard.end] = optimizer.shard.part(parameter)
    return rows


def whole_state(step, rows):
    """Returns the state of a TrainOneStep, {name: array} as without shards. rows: see `whole_rows`."""
    optimizer = step.optimizer
    state = {p.name: p.asnumpy() for p in step.state_parameters() if p.name not in optimizer.sharded}
    for prefix, row in rows.items():
        state |= optimizer.shard.named(prefix, row)
    return state


def own_state(step, state):
    """Returns what `whole_state` returned as this rank's step holds it; ValueError where it is of another network."""
    optimizer = step.optimizer
    return state | {prefix: optimizer.shard.own(prefix, state) for prefix in optimizer.sharded}
