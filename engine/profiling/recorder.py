"""Records steps while they run: `with profile(step) as p:`."""

import contextlib
import time

from cellwright.engine.profiling import stock
from cellwright.engine.profiling.programs import Programs, start_clock
from cellwright.engine.profiling.record import RankRecord, Span, Step
from cellwright.engine.step.nested_batch import samples

_now = time.perf_counter_ns


class Recorder:
    """Records updates of a TrainOneStep inside a `with` block; `record` is the RankRecord that comes out of it.

    skip: updates at the beginning that are run and not recorded. steps: after so many recorded updates everything is
    switched off again (None: at the end of the block). kernels: record each kernel; else host spans alone, which
    costs nothing that can be measured. Outside the block the step is as before: there is no hook in it, its class is
    exchanged for the time being.
    """

    def __init__(self, step, *, steps=None, skip=0, kernels=True, rank=0):
        if steps is not None and steps < 1:
            raise ValueError(f"steps = {steps}: must be at least 1")
        if skip < 0:
            raise ValueError(f"skip = {skip}: must be at least 0")
        self.step, self.steps, self.skip, self.kernels = step, steps, skip, kernels
        self.record = RankRecord(rank=rank)
        self._clock = self._stock = self._open = None
        self._waited, self._recording, self._inside = 0, False, False
        self._class = type(step)
        self._done = 0

    def __enter__(self):
        recorder = self

        class Watched(self._class):
            def __call__(self, *batch, **rest):
                recorder._inside = True
                report = super().__call__(*batch, **rest)
                recorder._inside = False
                recorder._called(samples(batch), report)
                return report

            def apply(self, *arguments, **rest):
                with recorder._graph():
                    report = super().apply(*arguments, **rest)
                if not recorder._inside:
                    recorder._called(0, report)
                return report

            def _run(self, graph, *arguments):
                with recorder._graph():
                    return super()._run(graph, *arguments)

        Watched.__name__, Watched.__qualname__ = self._class.__name__, self._class.__qualname__
        self.step.__class__ = Watched
        self._compiled = len(self.step.compilations)
        if self.skip == 0:
            self._start()
        return self

    def __exit__(self, *_):
        self._stop()
        self.step.__class__ = self._class

    def _start(self):
        if self.kernels:
            self._clock = start_clock()
            self._stock = stock.StockProfiler()
            self._stock.start()
        self._events = []
        self._recording, self._waited = True, 0
        self._open = Step(_now())

    def _stop(self):
        if not self._recording:
            return
        self._recording = False
        if self._stock is not None:
            runs = self._stock.stop()
        if self._clock is not None:
            self.record.lost_events = self._clock.lost
            self._clock.__exit__()
            programs = Programs()
            for step, events in zip(self.record.steps, self._events):
                step.executions, step.nodes = programs.read(events)
        if self._stock is not None:
            self._assign(runs)
        self._clock = self._stock = None

    @contextlib.contextmanager
    def _graph(self):
        begin = _now()
        try:
            yield
        finally:
            if self._recording:
                self._open.graphs.append((begin, _now()))

    def _called(self, images, report):
        """After each call of the step; an update ends with a report."""
        if self._recording:
            self._open.images += images
        if report is None:
            return
        self._done += 1
        if not self._recording:
            if self._done == self.skip:
                self._start()
            self._compiled = len(self.step.compilations)
            return
        step, step.end = self._open, _now()
        step.wait, step.loss = self._waited, report.loss
        step.compiled = sum(c.seconds for c in self.step.compilations[self._compiled :])
        self._compiled = len(self.step.compilations)
        if self._clock is not None:
            self._events.append(self._clock.take())
        self.record.steps.append(step)
        self._waited = 0
        self._open = Step(step.end)
        if self.steps is not None and len(self.record.steps) >= self.steps:
            self._stop()

    def _assign(self, runs):
        """Gives each step the stock kernels that ran in it; the nodes that the clock has seen are left out."""
        for step in self.record.steps:
            own = [run for run in runs if step.begin <= run.begin < step.end]
            nodes = list(step.nodes)
            mine = [run for run in own if not _seen(run, nodes)]
            found, extra = stock.executions(mine)
            step.executions += stock.finish(found)
            step.nodes += extra

    def watch(self, batches):
        """Returns `batches` (an iterable, or a loader with `epoch`) that notes how long each batch was waited for."""
        return _Watched(batches, self)

    def _wait(self, begin, end, ring):
        if self._recording:
            self._waited += end - begin
            self.record.spans.append(Span("host", "data wait", begin, end))
            if ring is not None:
                self.record.ring.append((end, *ring))

    @contextlib.contextmanager
    def span(self, name, track="host", **args):
        """Notes what the block took, under this name: a checkpoint, an evaluation."""
        begin = _now()
        try:
            yield
        finally:
            self.record.spans.append(Span(track, name, begin, _now(), args))

    @property
    def finished(self):
        """True once the wanted number of steps was recorded."""
        return self.steps is not None and len(self.record.steps) >= self.steps


def _seen(run, nodes):
    return run.kind == "Custom" and any(
        run.begin <= node.end and node.begin <= run.begin + run.duration for node in nodes
    )


class _Watched:
    """Batches whose every `next` is timed."""

    def __init__(self, batches, recorder):
        self._batches, self._recorder = batches, recorder
        if hasattr(batches, "epoch"):
            self.epoch = self._epoch

    def __len__(self):
        return len(self._batches)

    def __getattr__(self, name):
        return getattr(self._batches, name)

    def __iter__(self):
        return self._timed(iter(self._batches))

    def _epoch(self, number, start=0):
        return self._timed(iter(self._batches.epoch(number, start=start)))

    def _timed(self, iterator):
        while True:
            begin = _now()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            ring = self._batches.occupancy() if hasattr(self._batches, "occupancy") else None
            self._recorder._wait(begin, _now(), ring)
            yield batch


def profile(step, **settings):
    """Returns a Recorder for `with profile(step, steps=10, skip=2) as p:`; see Recorder."""
    return Recorder(step, **settings)
