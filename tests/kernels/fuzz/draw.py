"""Draws a network from a seed."""

import numpy as np
from fuzz.layers import ACTIVATIONS, KINDS, Impossible
from fuzz.layers.resize import MODES
from fuzz.networks import Network, step

_PLAIN_ACTS = ("relu", "leaky")
NEWER = 20_000  # from this seed on layers are drawn that the fuzzer had not at first: what a seed means stays
SEVERAL = 30_000  # from this seed on one to three further values of the last block are returned


def draw_network(seed):
    """Returns the Network of a seed: 1 to 3 blocks, perhaps a head; every third seed has all kinds of layers."""
    draw = np.random.default_rng([seed, 20_261_121])
    images, size = int(draw.integers(1, 10)), int(draw.choice([3, 5, 7, 8, 9, 11, 13]))
    height, width = size, size if draw.random() < 0.6 else int(draw.choice([3, 4, 6, 7, 10]))
    shape = images, _channels(draw), height, width
    blocks, now = [], shape
    wide = seed % 3 == 2
    for _ in range(int(draw.choice([1, 1, 2, 3]))):
        block = _Block(draw, now, wide, seed >= NEWER)
        block.fill(int(draw.integers(2, 9)))
        blocks.append(tuple(block.steps))
        now = block.shapes[-1]
    if draw.random() < 0.4 and len(now) == 4:
        block = _Block(draw, now, wide)
        block.head()
        blocks.append(tuple(block.steps))
    further = ()
    if seed >= SEVERAL:
        further = tuple(int(k) for k in draw.integers(0, len(blocks[-1]) + 1, int(draw.integers(1, 4))))
    return Network(shape, tuple(blocks), seed, further)


def _channels(draw):
    return int(draw.integers(1, 41)) if draw.random() < 0.6 else int(draw.choice([1, 3, 8, 16, 24, 32]))


class _Block:
    """A block that grows step by step."""

    def __init__(self, draw, shape, wide, newer=False):
        self.draw, self.wide, self.newer = draw, wide, newer
        self.steps, self.shapes = [], [tuple(shape)]

    def chance(self, share):
        return self.draw.random() < share

    def choice(self, *values):
        return values[int(self.draw.integers(len(values)))]

    def add(self, kind, *sources, **settings):
        """Appends a step and returns the number of its value; raises Impossible."""
        one = step(kind, *sources, **settings)
        shape = tuple(KINDS[kind].shape(one, [self.shapes[source] for source in sources]))
        if min(shape) < 1 or np.prod(shape[1:]) > 12_000:
            raise Impossible("too large")
        self.steps.append(one)
        self.shapes.append(shape)
        return len(self.shapes) - 1

    def fill(self, count):
        tries = 0
        while len(self.steps) < count and tries < 200:
            tries += 1
            kept = len(self.steps)
            # Mostly the last value goes on; now and then an older one, so that some are shared and some ends are dead.
            source = len(self.steps) if self.chance(0.8) else int(self.draw.integers(len(self.shapes)))
            if len(self.shapes[source]) != 4:
                continue
            try:
                getattr(self, "_" + self._kind())(source)
            except Impossible:
                del self.steps[kept:], self.shapes[kept + 1 :]
        if not self.steps:
            self.add("conv", 0, channels=_channels(self.draw))

    def _kind(self):
        common = {"conv": 5, "norm": 4, "act": 4, "pool": 1, "sum": 2, "concat": 2, "norms": 0.5, "gate": 0.6}
        rare = {"odd_act": 2, "again": 0.7, "scale": 0.7, "same": 0.5, "shuffle": 0.5, "slice": 0.5, "multiply": 0.5}
        rare |= {"upsample": 0.3, "mean_map": 0.4, "dropout": 0.6, "unused": 0.4, "split": 0.5, "odd_norm": 1.0}
        weights = common | (rare if self.wide else {"unused": 0.1, "same": 0.1})
        weights |= {"resize": 2, "slopes": 2, "dilated": 3} if self.newer else {}
        total = np.array(list(weights.values()))
        return list(weights)[int(self.draw.choice(len(total), p=total / total.sum()))]

    def _frozen(self):
        return self.chance(0.12)

    def _conv(self, source, channels=None, plain=False):
        kernel = self.choice(1, 1, 3, 3, 3, 5, 2, 7)
        settings = {"channels": channels or _channels(self.draw), "bias": self.chance(0.3), "frozen": self._frozen()}
        if not plain:
            stride = self.choice(1, 1, 1, 2, 3)
            mode = self.choice("same", "same", "pad", "valid")
            padding = (self.choice(0, 1, 2),) * 4
            if mode == "pad" and self.chance(0.3):
                padding = tuple(self.choice(0, 1, 2, 3) for _ in range(4))
            settings |= {"kernel": (kernel, kernel), "stride": (stride, stride), "pad_mode": mode}
            settings |= {"padding": padding} if mode == "pad" else {}
            if self.wide and self.chance(0.3):
                settings["kernel"] = self.choice((1, 3), (3, 1), (1, 7), (5, 2))
            if self.wide and self.chance(0.2):
                settings["dilation"] = self.choice((2, 2), (3, 3), (1, 2))
            if self.wide and self.chance(0.1):
                settings["stride"] = self.choice((1, 2), (2, 1))
            inside = self.shapes[source][1]
            if self.wide and self.chance(0.4):
                group = self.choice(*(g for g in range(1, inside + 1) if inside % g == 0))
                group = inside if self.chance(0.4) else group
                settings |= {"group": group, "channels": group * self.choice(1, 1, 2, 3)}
        return self.add("conv", source, **settings)

    def _norm(self, source):
        mode = "own" if self.chance(0.85) else self.choice("eval", "eval", "moving", "batch")
        settings = {"eps": self.choice(1e-5, 1e-5, 1e-3), "momentum": self.choice(0.9, 0.9, 0.99, 0.5), "mode": mode}
        return self.add("norm", source, frozen=self._frozen(), **settings)

    def _act(self, source):
        return self.add("act", source, name=self.choice(*_PLAIN_ACTS), form="ops" if self.chance(0.15) else "cell")

    def _odd_act(self, source):
        if self.chance(0.15):
            return self.add("prelu", source)
        return self.add("act", source, name=self.choice(*ACTIVATIONS), form=self.choice("cell", "cell", "ops"))

    def _pool(self, source):
        kernel, stride = self.choice((2, 2), (3, 2), (2, 1), (3, 1), (3, 3))
        mode = self.choice("valid", "valid", "same", "pad")
        settings = {"kernel": (kernel, kernel), "stride": (stride, stride), "pad_mode": mode}
        settings |= {"padding": (1, 1, 1, 1)} if mode == "pad" else {}
        if self.wide and self.chance(0.2):
            settings["kernel"] = self.choice((1, 3), (3, 2))
            settings["padding"] = (0, 0, 1, 1) if mode == "pad" else (0, 0, 0, 0)
        kind = self.choice("max_pool", "avg_pool")
        if kind == "avg_pool" and mode == "pad":
            settings["include"] = self.chance(0.5)
        return self.add(kind, source, **settings)

    def _partner(self, source):
        """An earlier value of the same shape, or a new one that a convolution makes so, or Impossible."""
        shape = self.shapes[source]
        same = [k for k, other in enumerate(self.shapes) if other == shape and (k != source or self.chance(0.1))]
        if same and self.chance(0.7):
            return self.choice(*same)
        wide = [k for k, other in enumerate(self.shapes) if len(other) == 4 and other[2:] == shape[2:]]
        return self._conv(self.choice(*wide), shape[1], plain=True)

    def _sum(self, source):
        pair = [source, self._partner(source)]
        result = self.add(
            "add", *(pair if self.chance(0.5) else pair[::-1]), form="ops" if self.chance(0.15) else "sign"
        )
        return self._act(result) if self.chance(0.5) else result

    def _multiply(self, source):
        return self.add("multiply", source, self._partner(source), form=self.choice("sign", "ops"))

    def _concat(self, source):
        fitting = [k for k, other in enumerate(self.shapes) if len(other) == 4 and other[2:] == self.shapes[source][2:]]
        others = [self.choice(*fitting) for _ in range(self.choice(1, 1, 2, 3))]
        parts = [source, *others]
        self.draw.shuffle(parts)
        return self.add("concat", *(int(part) for part in parts), form="ops" if self.chance(0.2) else "cell")

    def _norms(self, source):
        """Several norms on one tensor, brought together again."""
        ends = [
            self._act(self._norm(source)) if self.chance(0.5) else self._norm(source)
            for _ in range(self.choice(2, 2, 3))
        ]
        result = ends[0]
        for end in ends[1:]:
            result = (
                self.add("concat", result, end)
                if self.chance(0.3)
                else self.add("add", self._conv_to(end, result), result)
            )
        return result

    def _conv_to(self, source, like):
        return self._conv(source, self.shapes[like][1], plain=True) if self.chance(0.5) or source == like else source

    def _gate(self, source):
        """Squeeze and excitation, with or without a residual sum."""
        channels = self.shapes[source][1]
        squeezed = self.add("mean", source, keep=True, form=self._mean_form())
        squeezed = self._conv(squeezed, self.choice(4, 8, 16, 5), plain=True)
        squeezed = self._conv(self._act(squeezed), channels, plain=True)
        gate = self.add("act", squeezed, name="sigmoid")
        pair = (source, gate) if self.chance(0.8) else (gate, source)
        result = self.add("multiply", *pair)
        if self.chance(0.7):
            result = self.add("add", result, self._partner(source))
            return self._act(result) if self.chance(0.6) else result
        return result

    def _mean_form(self):
        return self.choice("cell", "cell", "ops", "method", "pool") if self.wide else "cell"

    def _mean_map(self, source):
        """A mean that comes back as a bias of the map."""
        return self.add("add", source, self.add("mean", source, keep=True, form=self._mean_form()))

    def _again(self, source):
        known = [k for k, one in enumerate(self.steps) if one.kind in ("conv", "norm") and one.again is None]
        if not known:
            raise Impossible("nothing to call again")
        first = self.choice(*known)
        one = self.steps[first]
        if self.shapes[one.sources[0]][1] != self.shapes[source][1]:
            source = one.sources[0]
        return self.add(one.kind, source, frozen=one.frozen, again=first, **dict(one.settings))

    def _scale(self, source):
        return self.add(
            "scale",
            source,
            factor=self.choice(0.5, 1.0, -1.5),
            shift=self.choice(0.0, 0.0, 0.5),
            training=self.chance(0.3),
        )

    def _dropout(self, source):
        return self.add("dropout", source, p=self.choice(0.1, 0.5, 0.9), word=int(self.draw.integers(-(2**31), 2**31)))

    def _same(self, source):
        return self.add("same", source, form=self.choice("identity", "dropout", "sequence"))

    def _shuffle(self, source):
        inside = self.shapes[source][1]
        return self.add("shuffle", source, group=self.choice(*(g for g in range(1, inside + 1) if inside % g == 0)))

    def _slice(self, source):
        ends = sorted(int(k) for k in self.draw.choice(self.shapes[source][1] + 1, 2, replace=False))
        return self.add("slice", source, first=ends[0], last=ends[1])

    def _split(self, source):
        inside = self.shapes[source][1]
        group = self.choice(*(g for g in range(1, inside + 1) if inside % g == 0))
        return self.add("split", source, group=group, first=int(self.draw.integers(group)))

    def _odd_norm(self, source):
        if self.chance(0.3):
            return self.add("factors", source, frozen=self._frozen())
        if self.chance(0.4):
            return self.add("pixel_norm", source, eps=self.choice(1e-5, 1e-3), frozen=self._frozen())
        inside = self.shapes[source][1]
        group = self.choice(*(g for g in range(1, inside + 1) if inside % g == 0))
        return self.add("group_norm", source, group=group, eps=self.choice(1e-5, 1e-3), frozen=self._frozen())

    def _upsample(self, source):
        return self.add("upsample", source)

    def _resize(self, source):
        if self.chance(0.3):
            return self.add("resize", source, factor=self.choice(2, 3, 1.5, 0.5), mode=self.choice(*MODES))
        size = tuple(int(self.draw.integers(1, 15)) for _ in range(2))
        return self.add("resize", source, size=size, mode=self.choice(*MODES))

    def _slopes(self, source):
        return self.add("prelu", source, shared=self.chance(0.4), frozen=self._frozen())

    def _dilated(self, source):
        """A dilated depthwise convolution."""
        inside, kernel = self.shapes[source][1], self.choice((3, 3), (3, 3), (5, 5), (2, 3), (1, 4))
        settings = {"pad_mode": self.choice("same", "same", "pad", "valid")}
        if settings["pad_mode"] == "pad":
            settings["padding"] = tuple(self.choice(0, 1, 2, 4) for _ in range(4))
        settings |= {"stride": self.choice((1, 1), (1, 1), (2, 2), (1, 3)), "bias": self.chance(0.3)}
        settings |= {"dilation": self.choice((2, 2), (2, 2), (3, 3), (1, 2), (4, 3)), "frozen": self._frozen()}
        return self.add("conv", source, channels=inside, group=inside, kernel=kernel, **settings)

    def _unused(self, source):
        return self.add("unused", source, channels=_channels(self.draw), bias=self.chance(0.5))

    def head(self):
        """A mean or a flattening, dense layers, sometimes an activation between them or behind."""
        source = 0
        if self.chance(0.8):
            source = self.add(
                "mean", source, keep=False, form=self.choice("cell", "ops", "method") if self.wide else "cell"
            )
        else:
            source = self.add("flatten", source, form=self.choice("cell", "method"))
        for _ in range(self.choice(1, 1, 2)):
            source = self.add(
                "dense", source, channels=_channels(self.draw), bias=self.chance(0.8), frozen=self._frozen()
            )
            if self.chance(0.3):
                source = self._act(source)
