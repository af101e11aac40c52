"""--overlap auto: what it decides from measured times, the same on all ranks, and when."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs import ROOT

from cellwright.launch.overlap import LEAST, MEASURED, WARM_UP, OverlapChoice, Times, choose, promise, worth_a_trial

PARTS = 4


@pytest.mark.parametrize(
    "ranks, share",
    [
        # Three quarters of what travels hide behind the backward, and cost one core of four for as long.
        ([Times(1.0, 0.2, 4)], 0.15 * 0.75),
        # No more than the backward, two thirds of what is computed, can hide anything.
        ([Times(1.0, 0.7, 2)], 0.75 * 0.2 / 2),
        # The slowest rank's step, the slowest exchange, the rank with the fewest cores.
        ([Times(0.5, 0.2, 4), Times(1.0, 0.1, 8), Times(0.7, 0.1, 2)], 0.15 / 2),
        ([Times(1.0, 0.5, 1)], 0),
        ([Times(1.0, 2.0, 4)], 0),  # a link that was slower for a while: nothing is left to hide it behind
    ],
)
def test_what_overlapping_could_save_at_most(ranks, share):
    assert promise(ranks, PARTS) == pytest.approx(share)


@pytest.mark.parametrize(
    "times, tried, words",
    [
        (Times(0.94, 0.3, 4), True, "the sums alone take 300 ms of a step of 940 ms: trying it"),
        (Times(0.94, 0.012, 4), False, "12 ms of a step of 940 ms, so it could save 0.7 % at most"),
        (Times(2.0, 1.5, 1), False, "a rank has one core, which the thread that sums would take"),
    ],
)
def test_a_trial_is_made_where_it_promises_something(times, tried, words):
    found, why = worth_a_trial([times, times], PARTS)
    assert found is tried and words in why


def test_the_quicker_way_stays_and_a_tie_goes_to_the_simple_one():
    assert choose([1.0, 0.9], [0.8, 0.9]) == (True, "a step takes 900 ms with it and 1.00 s without, measured")
    assert choose([1.0], [1.0 - LEAST / 2])[0] is False
    assert choose([0.8], [1.1])[0] is False


class Ranks:
    """A world of threads, each a rank with times of its own: steps without and with overlap, and the exchange."""

    def __init__(self, *ranks, steps=100):
        self.ranks, self.steps = ranks, steps
        self.meet, self.slots = threading.Barrier(len(ranks)), [None] * len(ranks)

    def allgather_object(self, rank, value):
        self.slots[rank] = value
        self.meet.wait(10)
        everyone = list(self.slots)
        self.meet.wait(10)
        return everyone

    def run(self):
        """Returns [(what set_overlap was told, the lines said), ...] of the ranks."""
        told = [([], []) for _ in self.ranks]
        threads = [threading.Thread(target=self._train, args=(rank, *told[rank])) for rank in range(len(self.ranks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        return told

    def _train(self, rank, switched, said):
        without, having, exchange = self.ranks[rank]
        step = SimpleNamespace(set_overlap=lambda on, compiling=None: switched.append(on))
        world = SimpleNamespace(allgather_object=lambda value: self.allgather_object(rank, value))
        choice = OverlapChoice(step, world, 4, lambda: exchange, said.append, None)
        for number in range(self.steps):
            seconds = having if switched and switched[-1] else without
            if choice.seen < WARM_UP:
                seconds = 60.0  # it compiles
            choice.look({"step_ms": 1e3 * seconds}, self.steps - number - 1)


def test_all_ranks_decide_alike_though_each_measures_something_else():
    # Alone, the first rank would keep it and the second would not.
    for ranks, on in [(((1.0, 0.5, 0.3), (0.9, 0.99, 0.3)), False), (((1.0, 0.5, 0.3), (0.9, 0.91, 0.2)), True)]:
        told = Ranks(*ranks).run()
        assert told[0] == told[1]
        switched, said = told[0]
        assert switched == ([True] if on else [True, False])
        assert len(said) == 2 and said[-1].startswith(f"overlap {'on' if on else 'off'}: a step takes")


def test_without_a_promise_nothing_is_switched_and_one_line_says_so():
    for switched, said in Ranks((1.0, 0.1, 0.001), (1.0, 2.0, 0.002)).run():
        assert not switched and said == [
            "overlap off: the sums alone take 2 ms of a step of 1.00 s, so it could save 0.1 % at most"
        ]


def test_a_short_run_is_left_alone():
    needed = 2 * (WARM_UP + MEASURED)
    for switched, said in Ranks((1.0, 0.5, 0.3), steps=needed - 1).run():
        assert not switched and said == [f"overlap off: a decision takes {needed} steps, and there are {needed - 1}"]
    ((switched, said),) = Ranks((1.0, 0.5, 0.3), steps=needed).run()
    assert switched == [True] and said[-1].startswith("overlap on")


def test_the_graph_of_a_trial_takes_no_number_of_the_graphs_on_disk(tmp_path):
    program = Path(__file__).with_name("kept_graphs.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, program, tmp_path], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["compile_cache_0.mindir", "compile_cache_1.mindir"], done.stderr[-2000:]
