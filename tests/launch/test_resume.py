"""Going on after a kill, by --auto_resume and --resume, with as many ranks or with others."""

import os
import shutil
import signal
from types import SimpleNamespace

import pytest
from job_process import ends, ranks_of, start, wait_for_steps
from runs import TINY, command, metrics

from cellwright.engine import Checkpoints


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder of a run of 2 ranks that was killed, and how many batches its newest checkpoint has seen."""
    run = tmp_path_factory.mktemp("runs") / "run"
    process = start(run, *TINY, "--auto_resume", "--checkpoint_steps", 3, "--epochs", 50)
    wait_for_steps(run, process, 8)
    os.kill(ranks_of(run)[-1], signal.SIGKILL)
    code, output, _ = ends(process, run)
    assert code != 0 and "no whole checkpoint there yet: starting" in output
    return run, Checkpoints(run / "checkpoints").latest()


def batches(path):
    return int(path.name.rsplit("b", 1)[1])


def go_on(run, steps, ranks, *flags):
    flags = ("--run_dir", run, "--auto_resume", "--max_steps", steps, *flags)
    return command("launch.train", *flags, ranks=ranks).stdout


@pytest.mark.parametrize("ranks", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_another_rank_count_goes_on_at_the_same_samples(killed, tmp_path, ranks):
    before, newest = killed
    run = shutil.copytree(before, tmp_path / "run")
    seen = batches(newest) * 2  # batches of 8 images, of all ranks
    first = seen // ranks
    output = go_on(run, first + 2, ranks)
    assert f"going on from {newest.name}: epoch 0, batch {first}\n" in output
    assert [record["step"] for record in metrics(run)][-2:] == [first, first + 1]
    # What was saved last is the newest, though its number of batches may be the lower one.
    last = Checkpoints(run / "checkpoints").latest()
    assert batches(last) == first + 2
    if ranks == 1:
        again = go_on(run, first + 3, ranks, "--batch_size", 8)
        assert f"going on from {last.name}: epoch 0, batch {first + 2}\n" in again


def test_a_damaged_checkpoint_is_passed_over(killed, tmp_path):
    run = shutil.copytree(killed[0], tmp_path / "run")
    older, newest = Checkpoints(run / "checkpoints").paths()[-2:]
    with open(newest / "weights.ckpt", "r+b") as file:
        file.seek(1000)
        file.write(b"\0" * 100)
    output = go_on(run, batches(newest) + 1, 2)
    assert f"going on from {older.name}: epoch 0, batch {batches(older)}\n" in output


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("before, now", [(32, 16), (16, 32), (48, 32), (32, 48), (7, 5), (64, 64)])
def test_no_sample_is_left_out_and_less_than_an_update_comes_twice(tmp_path, before, now, accumulate):
    checkpoints = Checkpoints(tmp_path, global_batch=now)
    for batch in range(0, 60, accumulate):
        there = checkpoints.position(
            SimpleNamespace(accumulate=accumulate), {"epoch": 2, "batch": batch, "global_batch": before}
        )
        assert there.epoch == 2 and there.batch % accumulate == 0
        assert 0 <= batch * before - there.batch * now < (now * accumulate if before != now else 1)
