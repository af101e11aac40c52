"""Makes a failing network as small as it gets while it still fails."""

import dataclasses

from fuzz.layers import Impossible
from fuzz.networks import Step


def minimise(network, fails, limit=150):
    """Returns a smaller network for which fails(network) is true, after at most `limit` trials.

    Greedy: of all changes that make it simpler the first one that keeps it failing is taken, until none does.
    """
    seen, trials = {network}, 0
    changed = True
    while changed:
        changed = False
        for smaller in _simpler(network):
            if smaller in seen:
                continue
            seen.add(smaller)
            try:
                smaller.shapes()
            except Impossible:
                continue
            trials += 1
            if trials > limit:
                return network
            if fails(smaller):
                network, changed = smaller, True
                break
    return network


def _simpler(network):
    """Yields networks with less in them, the boldest changes first."""
    blocks = network.blocks
    for b in range(len(blocks)):
        yield dataclasses.replace(network, blocks=blocks[:b] + blocks[b + 1 :])
    for b in range(len(blocks) - 1):
        joined = _joined(blocks[b], blocks[b + 1])
        yield dataclasses.replace(network, blocks=(*blocks[:b], joined, *blocks[b + 2 :]))
    for k in range(len(network.further)):
        yield dataclasses.replace(network, further=network.further[:k] + network.further[k + 1 :])
    for b, block in enumerate(blocks):
        for k in reversed(range(len(block))):
            for source in dict.fromkeys(block[k].sources):
                smaller = _with(network, b, _without(block, k, source))
                if b == len(blocks) - 1:
                    further = (source if s == k + 1 else s - (s > k + 1) for s in network.further)
                    smaller = dataclasses.replace(smaller, further=tuple(further))
                yield smaller
    for b, block in enumerate(blocks):
        for k, one in enumerate(block):
            for simpler in _simpler_steps(one):
                yield _with(network, b, (*block[:k], simpler, *block[k + 1 :]))
    images, channels, height, width = network.shape
    for shape in (
        *((n, channels, height, width) for n in _less(images)),
        *((images, c, height, width) for c in _less(channels)),
        *((images, channels, h, width) for h in _less(height)),
        *((images, channels, height, w) for w in _less(width)),
    ):
        yield dataclasses.replace(network, shape=shape)


def _with(network, b, block):
    return dataclasses.replace(network, blocks=(*network.blocks[:b], block, *network.blocks[b + 1 :]))


def _joined(first, second):
    moved = len(first)
    return first + tuple(
        dataclasses.replace(
            one,
            sources=tuple(source + moved for source in one.sources),
            again=None if one.again is None else one.again + moved,
        )
        for one in second
    )


def _without(block, k, source):
    """The block without step k; whoever read it reads `source`."""
    steps = []
    for position, one in enumerate(block):
        if position == k:
            continue
        sources = tuple(source if s == k + 1 else s for s in one.sources)
        again = one.again
        if again is not None:
            again = None if again == k else again - (again > k)
        steps.append(Step(one.kind, tuple(s - (s > k + 1) for s in sources), one.settings, one.frozen, again))
    return tuple(steps)


def _simpler_steps(one):
    if one.again is not None:
        yield dataclasses.replace(one, again=None)
    if one.frozen:
        yield dataclasses.replace(one, frozen=False)
    if len(one.sources) > 2:
        yield dataclasses.replace(one, sources=one.sources[:-1])
    for name, value in one.settings:
        rest = tuple(pair for pair in one.settings if pair[0] != name)
        yield dataclasses.replace(one, settings=rest)
        if name == "channels":
            for channels in _less(value):
                yield dataclasses.replace(one, settings=tuple(sorted((*rest, (name, channels)))))
        if name == "kernel":
            for kernel in ((3, 3), (2, 2)):
                if kernel != value and max(value) >= max(kernel):
                    yield dataclasses.replace(one, settings=tuple(sorted((*rest, (name, kernel)))))


def _less(number):
    """A few smaller numbers, the smallest first."""
    return sorted({1, 2, 3, 8, 16, number // 2, number - 1} & set(range(1, number)))
