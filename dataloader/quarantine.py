"""Files that cannot be used: what takes their place, how many there are, and when that is too many."""

import csv
import math
import os

from cellwright.kernels.image.philox import below, philox4

SUBSTITUTE_TRIES = 64
_BLOCK_SUBSTITUTE = 1 << 20


class TooManyBadFiles(RuntimeError):
    """More files than allowed could not be used.

    bad, samples: how many of how many. max_bad: the share that was allowed. file, reason: the last one.
    """

    def __init__(self, bad, samples, max_bad, file, reason):
        super().__init__(bad, samples, max_bad, file, reason)
        self.bad, self.samples, self.max_bad, self.file, self.reason = bad, samples, max_bad, file, reason

    def told(self, setting="max_bad="):
        """Returns the line for people; setting: what they type to change the limit."""
        enough = math.ceil(1000 * (self.bad + 1) / self.samples) / 1000
        return (
            f"{self.bad} of {self.samples} files cannot be used, {setting}{self.max_bad:g} allows "
            f"{int(self.max_bad * self.samples)}; the last one: {self.file}: {self.reason} "
            f"(to go on without such files, {setting}{min(enough, 1):g} and more)"
        )

    def __str__(self):
        return self.told()


def substitutes(sample, samples, seed):
    """Yields the sample ids to try in place of `sample`, the same ones in every process and every epoch."""
    for attempt in range(SUBSTITUTE_TRIES):
        word, _, _, _ = philox4(seed, 0, sample, _BLOCK_SUBSTITUTE + attempt)
        yield int(below(word, samples))


class Quarantine:
    """The list of bad files of one loader: `files` maps a path to (reason, first epoch), `epoch_count` counts
    by epoch.

    With `path` every new entry goes to that CSV file (path, reason, epoch) at once. TooManyBadFiles is raised
    where more than the share `max_bad` of `samples` is in the list.
    """

    def __init__(self, samples, path=None, max_bad=0.001):
        if not 0 <= max_bad <= 1:
            raise ValueError(f"max_bad={max_bad}: allowed are 0 to 1")
        self.samples, self.path, self.max_bad = samples, path, max_bad
        self.files, self._seen = {}, {}

    def epoch_count(self, epoch):
        """How many places of the batches that were made for `epoch` a bad file should have filled."""
        return len(self._seen.get(epoch, ()))

    def add(self, file, sample, reason, epoch):
        """Takes in that `sample` could not be used in `epoch`."""
        self._seen.setdefault(epoch, set()).add(sample)
        if file in self.files:
            return
        self.files[file] = reason, epoch
        if self.path:
            self._write(file, reason, epoch)
        if len(self.files) > self.max_bad * self.samples:
            raise TooManyBadFiles(len(self.files), self.samples, self.max_bad, file, reason)

    def _write(self, file, reason, epoch):
        os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
        new = not os.path.exists(self.path)
        with open(self.path, "a", newline="", encoding="utf-8") as out:
            table = csv.writer(out)
            if new:
                table.writerow(("path", "reason", "epoch"))
            table.writerow((file, reason, epoch))
