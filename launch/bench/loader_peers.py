"""The loaders that `launch.bench loader` measures beside its own, each in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

RUN = Path(__file__).with_name("peers") / "loaders" / "run.py"
END_WAIT_S = 10.0
# name of the flag -> (name in the report, module that it needs)
PEERS = {
    "mindspore": ("mindspore.dataset", "mindspore"),
    "torchvision": ("torchvision", "torchvision"),
    "dali": ("DALI", "nvidia.dali"),
    "spdl": ("SPDL", "spdl"),
    "ffcv": ("FFCV raw", "ffcv"),
}


def processor_seconds(pids):
    """Seconds of processor time that the processes `pids` have taken so far."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            ticks += sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process `pid` and all that came from it."""
    found = [pid]
    for known in found:
        for children in Path(f"/proc/{known}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def there(name, interpreter):
    """True where the interpreter has what the peer needs; says so where it has not."""
    code = f"import importlib.util as u, sys; sys.exit(not u.find_spec({PEERS[name][1]!r}))"
    if subprocess.run([interpreter, "-c", code], check=False, capture_output=True).returncode == 0:
        return True
    sys.stderr.write(f"{interpreter} has no {PEERS[name][1]}: {PEERS[name][0]} is left out\n")
    return False


class Peer:
    """A loader in a process of its own, started when it is first measured, and stopped between its rounds: else it
    would fill its queues while another is measured, and hand out what it made then.
    """

    def __init__(self, name, interpreter, folder, settings, output, jitter=False):
        self.name = name
        self.line = [interpreter, RUN, "--peer", name, "--folder", folder, "--output", output]
        self.line += ["--workers", settings.workers, "--batch", settings.batch_size, "--warm_up", settings.pictures]
        self.line += ["--seconds", settings.seconds, *(["--jitter"] if jitter else [])]
        self.process = None

    def rate(self):
        """Measures a round; returns (images a second, milliseconds of processor time an image)."""
        if self.process is None:
            line = [str(part) for part in self.line]
            self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._signal(signal.SIGCONT)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self._report()
        pids = tree(self.process.pid)
        before = processor_seconds(pids)
        found = self._report()
        taken = processor_seconds(pids) - before
        self._signal(signal.SIGSTOP)
        return found["images"] / found["seconds"], 1000 * taken / found["images"]

    def _signal(self, number):
        for pid in tree(self.process.pid):
            os.kill(pid, number)

    def _report(self):
        for line in self.process.stdout:
            if line.startswith("{"):  # else what the peer itself prints
                return json.loads(line)
        raise RuntimeError(f"{PEERS[self.name][0]} ended with status {self.process.wait()}")

    def close(self):
        """Ends the process."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self._signal(signal.SIGCONT)
        self.process.stdin.close()
        try:
            self.process.wait(END_WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
