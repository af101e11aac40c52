"""MindSpore's scheduler as a process of its own; launch.host.collectives starts it, nobody else."""

import signal

from cellwright.dataloader.workers.supervisor import die_with_parent


def main(parent):
    die_with_parent(parent)
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
