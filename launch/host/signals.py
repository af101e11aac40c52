"""SIGTERM and SIGUSR1 end a run with a checkpoint: cluster managers send them before they kill."""

import contextlib
import signal

STOPPED_EXIT_CODE = 85  # asks to be started again, as some cluster managers understand it


@contextlib.contextmanager
def stopping_on_signals(trainer):
    """Context manager: inside, SIGTERM and SIGUSR1 let the trainer finish its step, write a checkpoint and stop on all ranks."""

    def stop(number, frame):
        trainer.request_stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
