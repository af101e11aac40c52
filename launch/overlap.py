"""--overlap auto: whether early gradients are summed while later ones are computed, from what steps and sums take.

The first steps are measured without it, and the exchange of all gradients alone. Where that promises something the next
steps are measured with it, and the quicker way stays. Both ways make the same bits, so nobody has to know which it was.
"""

import statistics
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

WARM_UP, MEASURED = 3, 5  # steps of each way: those that compile and fill the caches, and those that count
LEAST = 0.03  # share of a step that must be promised, and won, for what is noise on a quiet machine is less
_BACKWARD = 2 / 3  # of the computation: a gradient of inputs and one of weights for each forward product
_SAMPLE = 4 << 20  # numbers that are exchanged for a measurement
_NEEDED = 2 * (WARM_UP + MEASURED)


@dataclass(frozen=True)
class Times:
    """What a rank measured, in seconds: a step, and the exchange of all gradients alone. threads: of its graph."""

    step: float
    exchange: float
    threads: int


def promise(everyone, parts):
    """Returns the share of a step, 0 to 1, that overlapping could save at most; everyone: the Times of all ranks.

    The gradients of all but the last of `parts` parts of the backward can travel while the rest is computed. The thread
    that sums them is one of those that would compute. Ranks wait for each other: the slowest counts.
    """
    step, exchange = max(each.step for each in everyone), max(each.exchange for each in everyone)
    computed = max(0.0, step - exchange)
    hidden = (1 - 1 / parts) * min(exchange, _BACKWARD * computed)
    return hidden * (1 - 1 / min(each.threads for each in everyone)) / step


def worth_a_trial(everyone, parts):
    """Returns (whether to try it, the reason in words) for the Times of all ranks without overlap."""
    step, exchange = max(each.step for each in everyone), max(each.exchange for each in everyone)
    if min(each.threads for each in everyone) == 1:
        return False, "a rank has one core, which the thread that sums would take from the computation"
    most, of = promise(everyone, parts), f"the sums alone take {_ms(exchange)} of a step of {_ms(step)}"
    if most < LEAST:
        return False, f"{of}, so it could save {100 * most:.1f} % at most"
    return True, f"{of}: trying it"


def choose(without, having):
    """Returns (whether to overlap, the reason in words) for the seconds of a step on all ranks without it, and with."""
    before, after = max(without), max(having)
    return after < (1 - LEAST) * before, f"a step takes {_ms(after)} with it and {_ms(before)} without, measured"


def _ms(seconds):
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def why_not(world, settings):
    """Returns in words why the sums of a step with StepSettings can't overlap with its computation."""
    if world.local_size == world.size:
        return "all ranks are on one host, where sums keep the cores busy"
    return settings.why_no_overlap or (
        "it needs --backend mpi, memory that ranks share, and an MPI that several threads may call"
    )


def exchange_seconds(allreduce, gradient_bytes):
    """Returns what summing so many bytes takes, the best of three, of a part if they are many. Collective."""
    numbers = max(1, gradient_bytes // 4)
    sample, seconds = [np.zeros(min(numbers, _SAMPLE), np.float32)], []
    for _ in range(3):
        began = time.perf_counter()
        allreduce.group.sum(sample)
        seconds.append(time.perf_counter() - began)
    return min(seconds) * numbers / len(sample[0])


class OverlapChoice:
    """Decides within the first steps of a run: `look(record, left)` after each of them. Collective.

    step: a TrainOneStep that can overlap and does not. exchange: a function, seconds of the sums alone. say: takes the
    line that tells the decision. compiling: see TrainOneStep.set_overlap.
    """

    def __init__(self, step, world, threads, exchange, say, compiling):
        self.step, self.world, self.threads, self.exchange = step, world, threads, exchange
        self.say, self.compiling = say, compiling
        self.without, self.times, self.seen, self.decided = None, [], 0, False

    def look(self, record, left):
        """record: of a step, see engine/loop/metrics.py; left: steps of the run after it."""
        if self.decided:
            return
        if self.without is None and self.seen == 0 and left + 1 < _NEEDED:
            return self._decide(False, f"a decision takes {_NEEDED} steps, and there are {left + 1}")
        self.seen += 1
        if self.seen > WARM_UP:
            self.times.append(record["step_ms"] / 1e3)
        if len(self.times) == MEASURED:
            self._measured(statistics.median(self.times))
            self.times, self.seen = [], 0

    def _measured(self, seconds):
        if self.without is not None:
            self._decide(*choose(self.without, self.world.allgather_object(seconds)))
            return
        from cellwright.engine.step.programs import BACKWARD_PARTS

        everyone = self.world.allgather_object(Times(seconds, self.exchange(), self.threads))
        tried, why = worth_a_trial(everyone, BACKWARD_PARTS)
        if not tried:
            self._decide(False, why)
            return
        self.without = [each.step for each in everyone]
        self.step.set_overlap(True, self.compiling)
        self.say(f"overlap: {why}")

    def _decide(self, on, why):
        self.decided = True
        if self.without is not None and not on:
            self.step.set_overlap(False)
        self.say(f"overlap {'on' if on else 'off'}: {why}")


def overlap_callbacks(job, built, trainer):
    """Returns the Callbacks by which a TrainingRun decides as --overlap auto says; says at once where it can't be."""
    from cellwright.engine import Callback
    from cellwright.launch.host.runtime import without_compile_cache

    step, settings = built.step, built.resolved.step
    if settings.overlap != "auto":
        return ()

    def say(line):
        if trainer.log:
            trainer.log.say(line)

    if not step.can_overlap:
        say(f"overlap off: {why_not(job.world, settings)}")
        return ()
    allreduce, gradient_bytes = step.update.reduce.allreduce, 4 * sum(p.size for p in step.optimizer.params)
    exchange = partial(exchange_seconds, allreduce, gradient_bytes)
    choice = OverlapChoice(step, job.world, job.cores.threads, exchange, say, without_compile_cache)

    class Choosing(Callback):
        def on_step(self, trainer, record):
            choice.look(record, trainer.total_steps - record["step"] - 1)

    return (Choosing(),)
