"""What a rank that fails says reaches the console before the launcher ends it."""

import os
import threading
import time

import pytest

from cellwright.launch.host import rank_log


@pytest.fixture
def console():
    """(file that reads, RankLog that writes there)."""
    theirs, ours = os.pipe()
    before = os.dup(2)
    os.dup2(ours, 2)
    os.close(ours)
    log = rank_log.RankLog(0)
    os.dup2(before, 2)
    os.close(before)
    with os.fdopen(theirs) as file:
        yield file, log
    log._console.close()


def test_a_failure_is_read_before_the_rank_goes_on(console):
    file, log = console
    reader = threading.Timer(0.3, file.readline)
    began = time.monotonic()
    reader.start()
    log.failed("it failed\n")
    assert time.monotonic() - began >= 0.3
    reader.join()


def test_a_launcher_that_does_not_read_is_not_waited_for_without_end(console, monkeypatch):
    monkeypatch.setattr(rank_log, "_READ_WITHIN_S", 0.2)
    began = time.monotonic()
    console[1].failed("it failed\n")
    assert 0.2 <= time.monotonic() - began < 10
