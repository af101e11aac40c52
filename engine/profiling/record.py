"""What a profile is made of: spans on a clock, executions of kernels, and what one rank has seen."""

from dataclasses import dataclass, field
from typing import NamedTuple

PHASES = ("forward", "backward", "allreduce", "update", "gaps", "data wait", "host")


class Span(NamedTuple):
    """Something that took time. track: the line of the trace that it is drawn on; times in ns of time.perf_counter."""

    track: str
    name: str
    begin: int
    end: int
    args: dict | None = None


class Execution(NamedTuple):
    """One run of a kernel. nanoseconds: its share of the wall clock, which for one of `threads` threads is a part of
    its duration.

    phase: forward, backward, allreduce or update. direction: forward, input gradient, weight gradient, or empty.
    source: program (an operation inside a program), node (of this project) or stock (MindSpore's kernel). lane: the
    track of the trace.
    """

    kind: str
    layer: str
    phase: str
    direction: str
    source: str
    lane: str
    begin: int
    end: int
    nanoseconds: float
    flops: float = 0.0
    bytes: float = 0.0


class Node(NamedTuple):
    """A node of the graph as it lay on the wall clock, for the share of each phase."""

    phase: str
    begin: int
    end: int


@dataclass
class Step:
    """One update: from the end of the one before to its own end, in ns."""

    begin: int
    end: int = 0
    wait: int = 0
    graphs: list = field(default_factory=list)  # (begin, end) of each call of a compiled graph
    executions: list = field(default_factory=list)
    nodes: list = field(default_factory=list)
    loss: float = float("nan")
    compiled: float = 0.0  # seconds of a call that had to compile
    images: int = 0

    @property
    def nanoseconds(self):
        return self.end - self.begin

    def phases(self):
        """Returns {phase: ns} whose sum is the step: what ran on the wall clock.

        Where several nodes ran, the one begun first counts, and the allreduce only where nothing else ran: hidden
        behind backward it costs nothing. gaps: inside the graph, between nodes. host: outside the graph, not waiting
        for data.
        """
        found = dict.fromkeys(PHASES, 0)
        for begin, end in self.graphs:
            free = [(begin, end)]
            for exchange in (False, True):
                left = []
                nodes = sorted((n for n in self.nodes if (n.phase == "allreduce") == exchange), key=lambda n: n.begin)
                for start, stop in free:
                    left += _cover(start, stop, nodes, found)
                free = left
            found["gaps"] += sum(stop - start for start, stop in free)
        inside = sum(end - begin for begin, end in self.graphs)
        found["data wait"] = self.wait
        found["host"] = max(0, self.nanoseconds - self.wait - inside)
        return found


def _cover(begin, end, nodes, found):
    """Adds to `found` what nodes, in the order of their begins, cover of a time; returns the parts that are left."""
    cursor, left = begin, []
    for node in nodes:
        if node.begin >= end:
            break
        if node.end > cursor:
            if node.begin > cursor:
                left.append((cursor, node.begin))
            stop = min(node.end, end)
            found[node.phase] += stop - max(node.begin, cursor)
            cursor = stop
    if cursor < end:
        left.append((cursor, end))
    return left


@dataclass
class RankRecord:
    """What one rank has seen. offset: to be added to its times to get those of rank 0; error: how far that may be
    off, ns."""

    rank: int = 0
    steps: list = field(default_factory=list)
    spans: list = field(default_factory=list)
    ring: list = field(default_factory=list)  # (time, batches ready, batches in the ring)
    workers: int = 0
    threads: int = 1
    cores: tuple = ()
    peaks: dict = field(default_factory=dict)
    offset: int = 0
    error: int = 0
    lost_events: int = 0
    host: str = ""
