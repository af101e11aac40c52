"""Collects the operations of a program into stages, and gives out the memory that they use."""

import dataclasses

from cellwright.kernels.compiler.memory import ALIGN, Arena
from cellwright.kernels.csrc import program_abi as native

# A chunk is as many images as keep a convolution's source and target within this many bytes: measured on DenseNet-121,
# GENet and VGG-16, see docs/kernels.md.
CHUNK_BYTES = 2 << 20
# Weight gradients are added up over the threads when this many numbers wait for it: one at a time would leave threads idle.
PENDING = 8 << 20


@dataclasses.dataclass(frozen=True)
class Ref:
    """Where an operand lies: a base of program.h (or the number of a tensor of the node); the others in floats."""

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
    """One operation or job. `convolution`: direction and shape, from which the handle is made when the stage is closed."""

    kind: int
    refs: list
    ints: list
    floats: list
    handle: int = None
    convolution: tuple = None
    layer: str = ""  # the name under which a profile shows it


class Stages:
    """The stages of one program. `operation` and `job` add to the open stage, `close` begins another one."""

    def __init__(self, images, threads, lanes, chunk_bytes=CHUNK_BYTES, dry=False):
        self.dry = dry
        self.images, self.lanes, self.chunk_bytes = images, lanes, chunk_bytes
        self.threads = min(threads, images)
        self.shares = {images * (t + 1) // self.threads - images * t // self.threads for t in range(self.threads)}
        self.most = max(self.shares)
        self.work = Arena()
        self.closed, self.work_floats, self.scratch_floats = [], 0, 0
        self.cuts = []  # stages with which another node begins
        self._weights, self._pending = [], []
        self.layer = ""  # of what is added from now on
        self._begin([])

    def _begin(self, jobs):
        self.operations, self.jobs, self.wishes = [], [jobs, [], []], []
        self._scratch = Arena()
        self._next_jobs = []

    @property
    def number(self):
        return len(self.closed)

    def close(self, last=False):
        """Ends the stage: all threads meet here."""
        offsets, scratch = self._scratch.lay_out()
        if scratch and not self.wishes:
            self.wishes.append(self.wish(scratch))
        _settle(self.operations, (native.BASE_SCRATCH,), offsets)
        capacity = max(1, min([self.most, *self.wishes]))
        for entry in self.operations:
            if entry.convolution and not self.dry:
                self._make_convolution(entry, capacity)
        if last or sum(length for _, _, length in self._pending) > PENDING:
            self._flush()
        self.closed.append((capacity, self.operations, self.jobs))
        self.scratch_floats = max(self.scratch_floats, scratch * capacity)
        self.work.barrier()
        self._begin(self._next_jobs)

    def cut(self):
        """Ends the stages of one node, sees to what was put off, and begins another node that goes on in the same memory."""
        self.close(last=True)
        if self.jobs[0]:
            self.close(last=True)
        self.cuts.append(self.number)

    def finish(self):
        """Ends the last stage, and gives all operations their memory."""
        self.cut()
        self.cuts.pop()
        self.closed[0][2][1].extend(self._weights)
        offsets, self.work_floats = self.work.lay_out()
        for _, operations, jobs in self.closed:
            for entries in (operations, *jobs):
                _settle(entries, (native.BASE_WORK, native.BASE_PER_THREAD), offsets)

    def operation(self, kind, refs, ints=(), floats=(), convolution=None, layer=None):
        entry = Entry(native.OP[kind], list(refs), list(ints), list(floats), None, convolution, layer or self.layer)
        self.operations.append(entry)
        return entry

    def _entry(self, kind, refs, ints, floats, handle=None, layer=None):
        return Entry(native.JOB[kind], list(refs), list(ints), list(floats), handle, None, layer or self.layer)

    def job(self, phase, kind, refs, ints=(), floats=(), handle=None, layer=None):
        self.jobs[phase].append(self._entry(kind, refs, ints, floats, handle, layer))

    def job_after(self, kind, refs, ints=(), floats=(), layer=None):
        """A job at the beginning of the next stage."""
        self._next_jobs.append(self._entry(kind, refs, ints, floats, layer=layer))

    def weights_job(self, kind, refs, ints=(), floats=(), handle=None, layer=None):
        """A job before the first stage: what depends on the parameters alone."""
        self._weights.append(self._entry(kind, refs, ints, floats, handle, layer))

    def gradient_job(self, kind, refs, ints, handle=None, layer=None):
        """A job that adds up what the threads have in refs[0], and writes it out; several are done at a time."""
        entry = self._entry(kind, refs, ints, [], handle, layer)
        self._pending.append((entry, refs[0].offset, refs[0].stride * self.threads))

    def _flush(self):
        self.jobs[2].extend(entry for entry, _, _ in self._pending)
        for _, start, _ in self._pending:
            self.work.release(start)
        self._pending = []

    def _make_convolution(self, entry, capacity):
        direction, shape, weights, gradients = entry.convolution
        entry.handle, floats = native.convolution(direction, shape, self._sizes(capacity))
        if direction != native.WEIGHT_GRADIENT:
            entry.refs[1] = self.take_lasting(floats)
            reorder = native.reorder(entry.handle, False)
            self.weights_job("reorder", [weights, entry.refs[1]], [floats], handle=reorder, layer=entry.layer)
            return
        entry.refs[1] = self.take_per_thread(floats)
        entry.ints[:] = [floats, shape[3]]
        parts = [self.take_per_thread(floats)]
        reorder = native.reorder(entry.handle, True)
        self.gradient_job("weight_gradient", [entry.refs[1], gradients[0]], [floats], reorder, entry.layer)
        if gradients[1] is not None:
            entry.refs[2] = self.take_per_thread(shape[3])
            parts.append(self.take_per_thread(shape[3]))
            self.gradient_job("bias_gradient", [entry.refs[2], gradients[1]], [shape[3], shape[3]], layer=entry.layer)
        entry.refs[4 : 4 + len(parts)] = parts
        for part in parts:
            self.work.release(part.offset)

    def take_scratch(self, floats):
        """Memory for `floats` numbers of each image of a chunk, until it is released or the stage ends."""
        return Ref(native.BASE_SCRATCH, self._scratch.take(floats), floats)

    def release_scratch(self, ref):
        self._scratch.release(ref.offset)
        self._scratch.barrier()  # a thread's operations run one after the other

    def take_per_thread(self, floats):
        floats = -(-floats // ALIGN) * ALIGN
        return Ref(native.BASE_PER_THREAD, self.work.take(floats * self.threads), floats)

    def take_work(self, floats):
        """Memory for `floats` numbers of each image, until it is released."""
        return Ref(native.BASE_WORK, self.work.take(floats * self.images), floats)

    def take_lasting(self, floats):
        """Memory for `floats` numbers that no other block shares: what is written there before the first stage stays."""
        return Ref(native.BASE_WORK, self.work.take(floats, from_the_beginning=True))

    def wish(self, floats):
        """The most images of a chunk, from the numbers of an image that have to stay in the cache."""
        return max(1, min(self.most, self.chunk_bytes // (4 * floats)))

    def _sizes(self, capacity):
        """Returns all sizes of chunks that occur for this capacity, the most frequent one first."""
        sizes = [capacity] if any(share >= capacity for share in self.shares) else []
        return sizes + sorted({share % capacity for share in self.shares} - {0, *sizes})


def _settle(entries, bases, offsets):
    """Puts offsets in place of the numbers of blocks."""
    for entry in entries:
        for k, ref in enumerate(entry.refs):
            if ref is not None and ref.base in bases:
                entry.refs[k] = dataclasses.replace(ref, offset=offsets[ref.offset])


def packed(entries):
    """Returns the entries of a stage as an array of native.Operation."""
    array = (native.Operation * max(1, len(entries)))()
    for slot, entry in zip(array, entries):
        slot.kind, slot.handle = entry.kind, entry.handle
        for k in range(native.REFS):
            ref = entry.refs[k] if k < len(entry.refs) and entry.refs[k] is not None else NONE
            slot.r[k] = native.Reference(ref.base, ref.offset, ref.stride, ref.channel)
        slot.i[: len(entry.ints)] = [int(value) for value in entry.ints]
        slot.f[: len(entry.floats)] = entry.floats
    return array
