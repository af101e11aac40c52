"""Libraries beside the ranks of launch.bench hosts: how they are started, asked and ended."""

import sys
from pathlib import Path

import pytest

from cellwright.launch.bench import hosts, sum_peers
from cellwright.launch.host.mpi_world import World

PEERS = Path(sum_peers.__file__).parent / "peers"
LIBRARY = """
import json, os, sys
sys.path.append({peers!r})
from sum_turns import Turns

job = json.loads(sys.argv[1])
assert set(job) == {{"rank", "size", "local_rank", "local_size", "address", "device"}}
turns = Turns(job["rank"], job["size"])
os.write(1, b"done\\n")  # a library that prints
assert turns.share("the way") == "the way"
sums = []
def add_up(numbers):
    open({log!r}, "a").write(f"{{len(numbers)}} ")
    return [number + {wrong} for number in numbers] if len(sums) == {turn} else numbers
turns.take(lambda count, value: sums.append(count) or [value] * count, add_up)
open({log!r}, "a").write("end")
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Starts a library that is wrong by a number at the sums of the n-th size."""

    def started(wrong=0, turn=1):
        script, log = tmp_path / "library.py", tmp_path / "log"
        script.write_text(LIBRARY.format(peers=str(PEERS), log=str(log), wrong=wrong, turn=turn))
        monkeypatch.setitem(sum_peers._SCRIPTS, "library", script)
        return sum_peers.sum_peers(World(), {"library": sys.executable, "another": None}), log

    return started


def test_a_library_sums_as_often_as_it_is_asked_and_ends_with_its_rank(library):
    context, log = library()
    with context as peers:
        assert list(peers) == ["library"]
        for count in (5, 5, 7):
            peers["library"](count)
        assert log.read_text() == "5 5 7 "
    assert log.read_text() == "5 5 7 end"


@pytest.mark.parametrize("turn", [1, 2])
def test_wrong_sums_of_a_new_size_are_an_error(library, turn, capfd):
    context, _ = library(wrong=1, turn=turn)
    with pytest.raises(RuntimeError, match="^library failed, rank 0$"), context as peers:
        for count in range(5, 5 + turn):
            peers["library"](count)
        pytest.fail("nobody looked at the sums")
    assert "the sum of 1 ranks is 2.0, 2.0, not 1.0" in capfd.readouterr().err


@pytest.mark.parametrize("flag, what", [("torch", "PyTorch"), ("oneccl", "oneCCL")])
def test_an_interpreter_without_the_library_is_refused(flag, what, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    bare.chmod(0o755)
    for interpreter in (bare, tmp_path / "none"):
        with pytest.raises(ValueError, match=f"^--{flag} {interpreter}: no Python interpreter that has {what}"):
            hosts.Settings(**{flag: str(interpreter)})
