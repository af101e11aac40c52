"""Dead workers, a dead parent: what is promised for each."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from loader_cases import copied, digest
from shared_memory import unused_shared_memory

from cellwright.dataloader import ImageFolder, Loader, TrainTransform
from cellwright.dataloader.workers.forkserver import worker_environment

pytestmark = pytest.mark.alone

ROOT = Path(__file__).resolve().parents[2]
TRAIN = TrainTransform(24)


def stuck_folder(folder, tmp_path):
    """The folder with sample 5 a pipe that nobody writes to: the worker that reads it waits for ever."""
    source = ImageFolder(folder)
    stuck = copied(source, tmp_path)
    os.unlink(stuck.path(5))
    os.mkfifo(stuck.path(5))
    return source, stuck


def wait_until(condition):
    """Waits until it is true; a minute is what a busy machine may need."""
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "it did not come to be"
        time.sleep(0.01)


def wait_until_stuck(loader):
    """Returns the process that has come to sample 5."""
    hit = []

    def stuck():
        loader._listen()
        hit[:] = np.flatnonzero(loader._ring.workers[:, 0] == 5)
        return hit and loader.pids

    wait_until(stuck)
    time.sleep(0.05)
    return loader.pids[int(hit[0])]


def kill_and_wait(loader, pid):
    """Kills a worker, and returns when the loader has another one in its place."""
    os.kill(pid, signal.SIGKILL)

    def replaced():
        loader._listen()
        return pid not in loader.pids

    wait_until(replaced)


@pytest.mark.parametrize("workers", (1, 2))
def test_a_killed_worker_is_replaced_and_the_same_batches_come(folder, tmp_path, workers):
    whole, stuck = stuck_folder(folder, tmp_path)
    with Loader(whole, 8, TRAIN, seed=3, tail="wrap", workers=1) as loader:
        want = [digest(batch) for batch in loader.epoch(0)]
    with Loader(stuck, 8, TRAIN, seed=3, tail="wrap", workers=workers) as loader:
        batches = loader.epoch(0)
        loader._send_out()
        for attempt in range(2):
            pid = wait_until_stuck(loader)
            if attempt:  # the next worker shall find the file itself
                os.unlink(stuck.path(5))
                Path(stuck.path(5)).write_bytes(Path(whole.path(5)).read_bytes())
            kill_and_wait(loader, pid)
        assert [digest(batch) for batch in batches] == want
        assert not loader.quarantine.files


def test_three_deaths_on_a_sample_name_the_file(folder, tmp_path):
    _, stuck = stuck_folder(folder, tmp_path)
    with Loader(stuck, 8, TRAIN, seed=3, tail="wrap", workers=2) as loader:
        batches = loader.epoch(0)
        loader._send_out()
        with pytest.raises(RuntimeError, match="died 3 times on sample 5, " + stuck.path(5)):
            for _ in range(3):
                kill_and_wait(loader, wait_until_stuck(loader))
            list(batches)


def test_deaths_on_a_sample_that_was_made_after_all_are_forgotten(folder, tmp_path):
    whole, stuck = stuck_folder(folder, tmp_path)
    with Loader(stuck, 8, TRAIN, seed=3, tail="wrap", workers=2) as loader:
        for epoch in (0, 2, 4):
            batches = loader.epoch(epoch)  # nothing is under way now
            Path(stuck.path(5)).unlink()
            os.mkfifo(stuck.path(5))
            loader._send_out()
            pid = wait_until_stuck(loader)
            Path(stuck.path(5)).unlink()
            Path(stuck.path(5)).write_bytes(Path(whole.path(5)).read_bytes())
            os.kill(pid, signal.SIGKILL)
            assert len([digest(batch) for batch in batches]) == len(loader)


def test_idle_workers_may_be_killed_at_any_time(folder):
    with Loader(ImageFolder(folder), 8, TRAIN, seed=3, workers=2) as loader:
        want = [digest(batch) for batch in loader.epoch(0)]
        for _ in range(5):
            for pid in loader.pids:
                with contextlib.suppress(
                    ProcessLookupError
                ):  # killed in the last round, its replacement not yet heard of
                    os.kill(pid, signal.SIGKILL)
            assert [digest(batch) for batch in loader.epoch(0)] == want


SCRIPT = """
import os, sys, time
sys.path.insert(0, {root!r})
from cellwright.dataloader import ImageFolder, Loader, TrainTransform

def main(how):
    loader = Loader(ImageFolder({folder!r}), 8, TrainTransform(24), workers=2)
    batches = loader.epoch(0)
    next(batches)
    print(loader.supervisor_pid, *loader.pids, flush=True)
    if how == "raise":
        raise KeyError("training failed")
    if how == "return":
        return
    while True:
        time.sleep(0.1)

main(sys.argv[1])
"""


def shared_memory(pid):
    """Named shared memory that a process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [line for line in maps.splitlines() if "/dev/shm/" in line]


def gone(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # reaped by whoever is init here


@pytest.mark.parametrize("how", ("return", "raise", "interrupt", "terminate", "kill", "kill supervisor"))
def test_no_process_and_no_shared_memory_is_left(folder, how):
    before = unused_shared_memory()
    script = SCRIPT.format(root=str(ROOT), folder=str(folder))
    process = subprocess.Popen(
        [sys.executable, "-c", script, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    pids = [int(pid) for pid in process.stdout.readline().split()]
    assert len(pids) == 3 and (how in ("return", "raise") or not any(map(gone, pids)))
    if how not in ("return", "raise"):
        assert not any(map(shared_memory, pids))  # what has no name cannot be left behind
    signals = {"interrupt": signal.SIGINT, "terminate": signal.SIGTERM, "kill": signal.SIGKILL}
    if how in signals:
        process.send_signal(signals[how])
    if how == "kill supervisor":
        os.kill(pids[0], signal.SIGKILL)
        wait_until(lambda: all(map(gone, pids)))  # while their parent still lives
        process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: all(map(gone, pids)) and unused_shared_memory() <= before)


def test_an_interrupt_of_the_whole_group_reaches_the_parent_alone(folder):
    script = f"""
import os, sys, time
sys.path.insert(0, {str(ROOT)!r})
from cellwright.dataloader import ImageFolder, Loader, TrainTransform
with Loader(ImageFolder({str(folder)!r}), 8, TrainTransform(24), workers=2) as loader:
    try:
        print("up", flush=True)
        while True:
            time.sleep(0.01)
    except KeyboardInterrupt:
        pids = loader.pids
    print(sum(len(batch) for batch in loader.epoch(0)), loader.pids == pids)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout.readline() == "up\n"
    os.killpg(process.pid, signal.SIGINT)  # while the supervisor is still starting
    assert process.communicate(timeout=60)[0].split() == ["32", "True"]


def test_close_leaves_no_worker(folder):
    loader = Loader(ImageFolder(folder), 8, TRAIN, workers=3)
    next(loader.epoch(0))
    pids = loader.pids
    assert len(pids) == 3 and not any(map(gone, pids))
    loader.close()
    assert all(map(gone, pids))
    with pytest.raises(RuntimeError, match="closed"):
        loader.epoch(0)


def test_a_raising_worker_gives_its_whole_traceback(folder):
    source = ImageFolder(folder)
    source.root = 5  # os.path.join raises TypeError in the worker
    with Loader(source, 8, TRAIN, workers=1) as loader:
        with pytest.raises(RuntimeError, match=r"(?s)epoch 0, batch 0:\nTraceback.*in path.*TypeError"):
            next(loader.epoch(0))


def test_a_worker_knows_neither_mindspore_nor_mpi(folder, monkeypatch):
    for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PRTE_X", "PMI_RANK", "MPI_LOCALNRANKS", "KEPT"):
        monkeypatch.setenv(name, "1")
    names = set(worker_environment(os.environ))
    assert "KEPT" in names and not [n for n in names if n.startswith(("OMPI_", "PMIX_", "PRTE_", "PMI", "MPI"))]
    with Loader(ImageFolder(folder), 8, TRAIN, workers=1) as loader:
        next(loader.epoch(0))
        maps = Path(f"/proc/{loader.pids[0]}/maps").read_text()
        assert "numba" in maps or "llvmlite" in maps
        assert "mindspore" not in maps and "libmpi" not in maps and "mpi4py" not in maps
        environment = Path(f"/proc/{loader.pids[0]}/environ").read_bytes().split(b"\0")
        assert not [e for e in environment if e.startswith((b"OMPI_", b"PMIX_", b"PRTE_"))]


def test_the_loader_works_where_mindspore_and_mpi_cannot_be_imported(folder):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
for name in ("mindspore", "mpi4py", "torch"):
    sys.modules[name] = None
from cellwright.dataloader import ImageFolder, Loader, TrainTransform
with Loader(ImageFolder({str(folder)!r}), 8, TrainTransform(24), workers=1) as loader:
    print(sum(len(images) for images, labels, weights in loader.epoch(0)))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "32", out.stderr
