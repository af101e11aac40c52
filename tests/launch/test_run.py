"""python -m launch.run: ranks as a person starts, stops and loses them; nothing of Open MPI has to be typed or read."""

import contextlib
import fcntl
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from job_process import ends, processes_of, ranks_of, wait_for_steps
from runs import ROOT, TINY

from cellwright.launch import run as launcher
from cellwright.launch.host.launcher_text import LauncherText

pytestmark = pytest.mark.alone

ENDLESS = (*TINY, "--epochs", 50)
RULE = b"-" * 74 + b"\n"


def environment_of(mark):
    """What a shell has that knows nothing of MPI."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMPI_", "PRTE_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**clean, "PYTHONPATH": str(ROOT), "PATH": path, "RUN_MARK": str(mark)}


def start(run, *words, module="launch.run"):
    line = [sys.executable, "-m", module, *map(str, words)]
    options = {"cwd": ROOT, "env": environment_of(run), "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(line, **options, text=True, start_new_session=True)


@pytest.mark.parametrize("ranks, wanted", [(2, signal.SIGINT), pytest.param(3, signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_saves_the_printed_line_goes_on_and_the_ranks_evaluate(tmp_path, ranks, wanted):
    run = tmp_path / "run"
    process = start(run, "-n", ranks, *ENDLESS, "--run_dir", run)
    wait_for_steps(run, process)
    os.killpg(process.pid, wanted)  # a terminal's Ctrl-C reaches all of the foreground
    code, output, errors = ends(process, run, 200)
    assert code == 85, errors
    assert "prterun" not in errors and "-----" not in errors and "Traceback" not in errors
    steps = len((run / "metrics.jsonl").read_text().splitlines())
    (saved,) = (run / "checkpoints").iterdir()
    assert int(saved.name.rsplit("b", 1)[1]) == steps

    line = re.search(r"go on with: (.*)", output)[1]
    assert line == f"python -m launch.run -n {ranks} --resume {run}"
    again = subprocess.run(
        [*shlex.split(line), "--max_steps", str(steps + 2)],
        cwd=ROOT, env=environment_of(run), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert f"going on from {saved.name}" in again.stdout and f"{ranks} ranks" in again.stdout
    assert len((run / "metrics.jsonl").read_text().splitlines()) == steps + 2

    code, output, errors = ends(start(run, "-n", ranks, "eval", "--ckpt", run), run, 400)
    assert code == 0 and "/1000)" in output, errors


def test_a_killed_rank_is_one_line_and_loses_little(tmp_path):
    run = tmp_path / "run"
    process = start(run, "-n", 3, *ENDLESS, "--run_dir", run, "--checkpoint_minutes", 0.01)
    wait_for_steps(run, process, 12)
    os.kill(ranks_of(run)[-1], signal.SIGKILL)
    code, _, errors = ends(process, run, 60)
    assert code == 137
    assert re.fullmatch(r".* launch\.run: rank \d on \S+ was ended by signal 9 \(Killed\)", errors.splitlines()[-1])
    assert "prterun" not in errors
    assert any(path.name.startswith("e0000_b") for path in (run / "checkpoints").iterdir())


def test_the_first_traceback_is_the_last_text(tmp_path):
    run, ledger = tmp_path / "run", tmp_path / "ledger"
    ledger.write_text("epoch,batch,digest\n0,1,0000000000000000\n")  # the first batch of rank 1
    process = start(run, "-n", 2, *ENDLESS, "--run_dir", run, "--verify_ledger", ledger)
    code, _, errors = ends(process, run, 400)
    assert code == 1
    assert errors.count("Traceback") == 1 and "LedgerMismatch" in errors
    assert errors.splitlines()[-1] == f"log of this rank: {run}/logs/rank_1.log"


def at_a_terminal(run, *words):
    """Starts launch.train in the foreground of a terminal of its own; returns the process and our end of that."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "launch.train", *map(str, words)],
        cwd=ROOT, env=environment_of(run), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    return process, ours


def read_to_the_end(terminal, until=None):
    text = b""
    with contextlib.suppress(OSError):  # the last process has closed its end
        while (piece := os.read(terminal, 4096)) and not (until and until in text + piece):
            text += piece
    return text.decode()


def test_ctrl_c_at_a_terminal_is_130_after_a_checkpoint(tmp_path):
    run = tmp_path / "run"
    process, terminal = at_a_terminal(run, *ENDLESS, "--run_dir", run)
    wait_for_steps(run, process)
    os.write(terminal, b"\x03")
    text = read_to_the_end(terminal)
    assert process.wait(200) == 130, text
    assert "Ctrl-C again ends at once" in text and f"go on with: python -m launch.train --resume {run}" in text
    assert len(list((run / "checkpoints").iterdir())) == 1
    assert processes_of(run) == []


def test_ctrl_c_twice_while_the_first_step_is_compiled_prints_no_stack(tmp_path):
    run = tmp_path / "run"
    process, terminal = at_a_terminal(run, "--net", "genet", "--run_dir", run, "--compile_cache", False)
    read_to_the_end(terminal, until=b"run folder")
    time.sleep(2)
    for _ in range(2):
        os.write(terminal, b"\x03")
        time.sleep(0.5)
    text = read_to_the_end(terminal)
    assert process.wait(20) == 130, text
    assert "Traceback" not in text and "C++" not in text
    end = time.monotonic() + 5
    while processes_of(run) and time.monotonic() < end:
        time.sleep(0.1)
    assert processes_of(run) == []


def test_a_bad_setting_is_told_once_with_its_own_code(tmp_path):
    process = start(tmp_path, "-n", 2, "--net", "tinydarknet", "--lr_gama", 3)
    code, output, errors = ends(process, tmp_path, 300)
    assert code == 2
    assert "unknown flag --lr_gama" in errors and "prterun" not in errors


def test_one_rank_is_the_command_itself(tmp_path):
    code, _, errors = ends(start(tmp_path, "doctor", "--batch_size", 0), tmp_path, 60)
    assert code == 2 and "launch.doctor: --batch_size 0: " in errors


def test_what_nohup_ignores_stays_ignored(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from cellwright.launch import run\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "run.line_of = lambda *_: ['sleep', '1']\n"
        "signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGHUP))\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.3)\n"
        "sys.exit(run.main(['-n', '1']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize(
    "words, message",
    [
        (["-n", "2", "pack"], "'pack' is no command that uses several ranks: train, eval, profile, doctor"),
        (["-n", "0"], "-n 0: must be at least 1"),
        (["--hostfile", "hosts"], "--hostfile and --mpi_flags want several ranks"),
        (["-n", "2", "--hostfile", "nowhere"], "--hostfile nowhere: no such file"),
        (["-n", "two"], "invalid int value: 'two'"),
        (["-n", "2", "--mpi_flags", "'"], "No closing quotation"),
    ],
)
def test_what_cannot_work_is_one_line(capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        launcher.main(words)
    error = capsys.readouterr().err
    assert stopped.value.code == 2 and message in error and error.count("\n") == 1


WALL = RULE + b"prterun noticed that process rank 1 with PID 7 on node a exited on\nsignal 9 (Killed).\n" + RULE


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_text_of_the_ranks_passes_whole_and_walls_do_not(size):
    table = RULE + b"layer | ms\n" + RULE
    ranks = b"a line\n" + table + b"\n-\n--x\nTraceback\n" + b"half a line"
    text, out = LauncherText(), b""
    stream = b"a line\n" + WALL + ranks.removeprefix(b"a line\n") + b"\n" + WALL
    for begin in range(0, len(stream), size):
        out += text.feed(stream[begin : begin + size])
    assert out + text.rest() == ranks + b"\n"
    assert len(text.walls) == 2
    assert text.reason() == "rank 1 on a was ended by signal 9 (Killed)"


def test_half_a_line_is_handed_on_at_once():
    text = LauncherText()
    assert text.feed(b"\r[###...] 3 of 6") == b"\r[###...] 3 of 6"
    assert text.feed(b"\r[####..]") == b"\r[####..]"


def test_a_signal_is_heard_while_the_main_thread_is_in_c(tmp_path):
    code = (
        "import hashlib, os, signal, sys\n"
        "from cellwright.launch.host.signals import StoppingOnSignals\n"
        "with StoppingOnSignals(lambda: print('asked', flush=True), lambda line: None):\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "asked\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130 and process.stderr.read() == ""
