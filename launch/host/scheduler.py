"""MindSpore's scheduler as a process of its own; launch.collectives starts it, nobody else."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def end_with(parent):
    """Has the kernel kill this process when the process `parent`, which started it, ends in whatever way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)


def main(parent):
    end_with(parent)
    # Meant for the ranks, which still need it while they write their checkpoint.
    ignored = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
    import mindspore as ms
    from mindspore.communication import init

    ms.set_device("CPU")
    init()
    for number in ignored:  # MindSpore sets handlers of its own
        signal.signal(number, signal.SIG_IGN)
    while True:
        signal.pause()
