"""Collects the operations of a program into stages, and gives out the memory that they use."""

import dataclasses
from collections.abc import Callable

from cellwright.kernels.compiler.memory import ALIGN, MemoryPlanner
from cellwright.kernels.csrc import program_abi as native

# A chunk is as many images as keep a convolution's source and target within this many bytes: measured on DenseNet-121,
# GENet and VGG-16, see docs/kernels.md.
CHUNK_BYTES = 2 << 20
# Weight gradients are added up over the threads when this many numbers wait for it: one at a time would leave threads
# idle.
PENDING = 8 << 20
SEEN = 64  # floats that tell whether a tensor has changed: jobs.c
BEFORE, THEN, AFTER = range(3)  # when a stage's jobs run: before the chunks, then what needs those; after the chunks


@dataclasses.dataclass(frozen=True)
class Ref:
    """Where an operand lies: a base of the table (or the number of a tensor of the node); the others in floats."""

    base: int
    offset: int = 0  # in work and scratch the number of a block, until the memory is laid out
    stride: int = 0
    channel: int = 0

    def at(self, channel):
        """Returns where a part begins that starts so many floats into each image, or into an array."""
        return dataclasses.replace(self, channel=self.channel + channel)


NONE = Ref(native.BASE_NONE)


@dataclasses.dataclass
class Entry:
    """An operation or job, and its arguments by the names of the table.

    prepare: called with the stages, the entry and the sizes of the chunks when these are known.
    """

    group: str  # "op" or "job"
    kind: str
    arguments: dict
    layer: str = ""  # the name under which a profile shows it
    handle: int = None
    continues: bool = False
    chain: object = None  # jobs of one chain in a stage run one after the other
    prepare: Callable = None

    def __post_init__(self):
        known = native.KINDS[self.group, self.kind]
        unknown = set(self.arguments) - {*known.operands, *known.integers, *known.floats}
        missing = {*known.integers, *known.floats} - set(self.arguments)
        if unknown or missing and self.prepare is None:
            raise TypeError(f"{self.kind}: {sorted(unknown)} is not in the table, or {sorted(missing)} not given")


class Stages:
    """The stages of one program. `operation` and `job` add to the open stage, `close` begins another one."""

    def __init__(self, images, threads, lanes, chunk_bytes=CHUNK_BYTES, dry=False, keeps=False):
        self.dry = dry  # nothing is prepared: no primitives of oneDNN
        self.keeps = keeps  # what depends on the parameters alone stays from one run to the next, until they change
        self.images, self.lanes, self.chunk_bytes = images, lanes, chunk_bytes
        self.threads = min(threads, images)
        self.shares = {images * (t + 1) // self.threads - images * t // self.threads for t in range(self.threads)}
        self.most = max(self.shares)
        self.work = MemoryPlanner()
        self.closed, self.work_floats, self.scratch_floats, self.kept_floats = [], 0, 0, 0
        self.cuts = []  # stages with which another node begins
        self._weights, self._pending, self._made = [], [], {}
        self.layer = ""  # of what is added from now on
        self._begin([])

    def _begin(self, jobs):
        self.operations, self.jobs, self.chunk_sizes = [], [jobs, [], []], []
        self._scratch = MemoryPlanner()
        self._next_jobs = []

    @property
    def number(self):
        return len(self.closed)

    def close(self, last=False):
        """Ends the stage: all threads meet here."""
        offsets, scratch = self._scratch.lay_out()
        if scratch and not self.chunk_sizes:
            self.chunk_sizes.append(self.chunk_size(scratch))
        _settle(self.operations, (native.BASE_SCRATCH,), offsets)
        capacity = max(1, min([self.most, *self.chunk_sizes]))
        for entry in self.operations:
            if entry.prepare is not None and not self.dry:
                entry.prepare(self, entry, self._sizes(capacity))
        if last or sum(length for _, _, length in self._pending) > PENDING:
            self._flush()
        self.closed.append((capacity, self.operations, self.jobs))
        self.scratch_floats = max(self.scratch_floats, scratch * capacity)
        self.work.barrier()
        self._begin(self._next_jobs)

    def cut(self):
        """Ends the stages of one node, sees to what was put off, and begins another node that goes on in the same
        memory.
        """
        self.close(last=True)
        if self.jobs[BEFORE]:
            self.close(last=True)
        self.cuts.append(self.number)

    def finish(self):
        """Ends the last stage, and gives all operations their memory."""
        self.cut()
        self.cuts.pop()
        self.closed[0][2][THEN].extend(self._weights)
        offsets, self.work_floats = self.work.lay_out()
        for _, operations, jobs in self.closed:
            for entries in (operations, *jobs):
                _settle(entries, (native.BASE_WORK, native.BASE_PER_THREAD), offsets)

    def operation(self, kind, layer=None, prepare=None, **arguments):
        """Returns a new operation of the open stage."""
        entry = Entry("op", kind, arguments, layer or self.layer, prepare=prepare)
        self.operations.append(entry)
        return entry

    def job(self, phase, kind, layer=None, **arguments):
        """A job of the open stage."""
        self.jobs[phase].append(Entry("job", kind, arguments, layer or self.layer))

    def job_after(self, kind, layer=None, chain=None, **arguments):
        """A job at the beginning of the next stage, after the others of its chain there."""
        entry = Entry("job", kind, arguments, layer or self.layer, chain=chain)
        earlier = [k for k, job in enumerate(self._next_jobs) if chain is not None and job.chain is chain]
        entry.continues = bool(earlier)
        self._next_jobs.insert(earlier[-1] + 1 if earlier else len(self._next_jobs), entry)

    def weights_job(self, kind, layer=None, handle=None, **arguments):
        """A job before the first stage: what depends on the parameters alone."""
        entry = Entry("job", kind, arguments, layer or self.layer, handle)
        source = arguments.get("source", NONE)
        if source in self._made:
            self._weights += self._made.pop(source)
            entry.continues = True
        elif self.keeps and source.base >= 0:
            seen = {"source": source, "seen": self.take_lasting(SEEN)}
            self._weights.append(Entry("job", "unchanged", seen, entry.layer))
            entry.continues = True
        self._weights.append(entry)

    def weights_before(self, floats, seen, jobs):
        """Returns memory that the next `weights_job` may have as its source: before it, jobs write there what depends
        on more than one parameter, in an evaluation that finds one of these changed.

        seen: the parameters, by the names of `unchanged`. jobs: called with the memory, returns kinds and arguments.
        """
        target = Ref(native.BASE_WORK, self.work.take(floats, from_the_beginning=True))
        entries = [("unchanged", {**seen, "seen": self.take_lasting(SEEN)}), *jobs(target)]
        self._made[target] = [Entry("job", *entry, self.layer, continues=k > 0) for k, entry in enumerate(entries)]
        return target

    def gradient_job(self, kind, layer=None, handle=None, **arguments):
        """A job that adds up what the threads have in `sum`, and writes it out; several are done at a time."""
        entry = Entry("job", kind, arguments, layer or self.layer, handle)
        own = arguments["sum"]
        self._pending.append((entry, own.offset, own.stride * self.threads))

    def _flush(self):
        self.jobs[AFTER].extend(entry for entry, _, _ in self._pending)
        for _, start, _ in self._pending:
            self.work.release(start)
        self._pending = []

    def take_scratch(self, floats):
        """Memory for `floats` numbers of each image of a chunk, until it is released or the stage ends."""
        return Ref(native.BASE_SCRATCH, self._scratch.take(floats), floats)

    def release_scratch(self, ref):
        """Ends the use of scratch memory."""
        self._scratch.release(ref.offset)
        self._scratch.barrier()  # a thread's operations run one after the other

    def take_per_thread(self, floats):
        """Memory for `floats` numbers of each thread, until it is released."""
        floats = -(-floats // ALIGN) * ALIGN
        return Ref(native.BASE_PER_THREAD, self.work.take(floats * self.threads), floats)

    def take_work(self, floats):
        """Memory for `floats` numbers of each image, until it is released."""
        return Ref(native.BASE_WORK, self.work.take(floats * self.images), floats)

    def take_lasting(self, floats):
        """Memory for `floats` numbers that no other block shares: what is written there before the first stage
        stays.
        """
        if self.keeps:
            first = self.kept_floats
            self.kept_floats += -(-floats // ALIGN) * ALIGN
            return Ref(native.BASE_KEPT, first)
        return Ref(native.BASE_WORK, self.work.take(floats, from_the_beginning=True))

    def chunk_size(self, floats):
        """The most images of a chunk, from the numbers of an image that have to stay in the cache."""
        return max(1, min(self.most, self.chunk_bytes // (4 * floats)))

    def _sizes(self, capacity):
        """Returns all sizes of chunks that occur for this capacity, the most frequent one first."""
        sizes = [capacity] if any(share >= capacity for share in self.shares) else []
        return sizes + sorted({share % capacity for share in self.shares} - {0, *sizes})


def _settle(entries, bases, offsets):
    """Puts offsets in place of the numbers of blocks."""
    for entry in entries:
        for name, value in entry.arguments.items():
            if isinstance(value, Ref) and value.base in bases:
                entry.arguments[name] = dataclasses.replace(value, offset=offsets[value.offset])
