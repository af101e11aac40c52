"""The turns of a rank of another library, for gloo_peer.py and oneccl_peer.py, which are run as files beside this one.

They are started with JOB, JSON: rank, size, local_rank and local_size (on this host), address and device (network).
"""

import os
import sys


class Turns:
    """A rank's talk with the process that started it. From now on what is printed is an error, and no answer."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size
        self._answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def share(self, text):
        """Returns the first rank's text, one line, on every rank: its first answer is the others' first input.

        text: not looked at on the others.
        """
        if self.rank:
            return sys.stdin.readline().strip()
        self._answer(text)
        return text

    def take(self, numbers_of, sum_over_ranks):
        """For each number that a line of the input holds, sums so many float32, then answers; asleep between.

        numbers_of: called with how many and a value, returns them. sum_over_ranks: called with these, returns the
        sums, which may lie where they lay. RuntimeError where the first sums of a size are wrong, at either end.
        """
        right, numbers = self.size * (self.size + 1) / 2, None
        for line in sys.stdin:
            count, known = int(line), numbers
            if numbers is None or len(numbers) != count:
                numbers = numbers_of(count, self.rank + 1.0)
            sums = sum_over_ranks(numbers)
            if numbers is not known and not float(sums[0]) == float(sums[-1]) == right:
                raise RuntimeError(f"the sum of {self.size} ranks is {float(sums[0])}, {float(sums[-1])}, not {right}")
            self._answer("done")

    def _answer(self, text):
        print(text, file=self._answers, flush=True)
