"""A measurement in a process of its own, which prints its report as the last line."""

import json
import os
import subprocess
import sys


def run(line, timeout=3600, environment=None):
    """Runs a command line; returns (its report, None), or (None, the last line of what went wrong).

    The last line that the process prints is JSON.
    """
    line = [str(part) for part in line]
    return read(finished(line, timeout, environment))


def finished(line, timeout=None, environment=None):
    """Returns the finished process of a command line, with its text output.

    What ends this process first, or the timeout, ends that one too: it is asked to, so that mpirun can end its ranks,
    and killed if it has not ten seconds later.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(line, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            output, errors = process.communicate(timeout=timeout)
        except BaseException:
            process.terminate()
            try:
                process.communicate(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return subprocess.CompletedProcess(line, process.returncode, output, errors)


def read(done):
    """Returns the same of a `subprocess.CompletedProcess` with text output."""
    if done.returncode:
        told = done.stderr.strip().splitlines()
        return None, (told[-1] if told else f"exit status {done.returncode}")[:300]
    return json.loads(done.stdout.strip().splitlines()[-1]), None


def report(line, what):
    """Returns the report of a command line, or None after a line of `what` on stderr if it failed."""
    found, failure = run(line)
    if failure:
        sys.stderr.write(f"{what}: {failure}\n")
    return found


def check_torch(interpreter):
    """ValueError where --torch names no Python interpreter that has PyTorch; None is none at all."""
    _check("--torch", interpreter, "import torch", "PyTorch")


def check_oneccl(interpreter):
    """ValueError where --oneccl names no Python interpreter of an environment that has oneccl from PyPI; None is none
    at all.
    """
    library = "import ctypes, os, sys; ctypes.CDLL(os.path.join(sys.prefix, 'lib', 'libccl.so.2'))"
    _check("--oneccl", interpreter, library, "oneCCL (`pip install oneccl`, 2022 or later)")


def _check(flag, interpreter, program, what):
    try:
        if interpreter:
            subprocess.run([interpreter, "-c", program], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(f"{flag} {interpreter}: no Python interpreter that has {what}") from None


def start(variant, seed=1):
    """Starts MindSpore in this process as `launch.train` does, on all its cores; all but "ours" run stock kernels."""
    from cellwright.launch.host.runtime import allow_all_instructions, quiet_environment, start_mindspore

    threads = len(os.sched_getaffinity(0))
    quiet_environment(threads)
    if variant == "ours":
        allow_all_instructions()
    start_mindspore("CPU", 0, threads, seed)
