"""Back ends: which one a world gets, and MindSpore's own collective on CPU under the real mpirun."""

import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from job_process import ends, processes_of, ranks_of, start, wait_for_steps
from runs import TINY, command, metrics

from cellwright.launch.host.collectives import choose_backend, scheduler_environment
from cellwright.launch.settings.resolve import read_settings

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    "wanted, device, size, chosen",
    [
        ("auto", "CPU", 4, "mpi"),
        ("auto", "GPU", 4, "nccl"),
        ("auto", "Ascend", 4, "hccl"),
        ("mccl", "CPU", 4, "mccl"),
        ("nccl", "GPU", 4, "nccl"),
        ("auto", "GPU", 1, "none"),
        ("mccl", "CPU", 1, "none"),
        ("none", "CPU", 1, "none"),
    ],
)
def test_every_device_has_its_back_end(wanted, device, size, chosen):
    assert choose_backend(wanted, device, size) == chosen


@pytest.mark.parametrize(
    "wanted, device, message",
    [
        ("nccl", "CPU", "--backend nccl: on CPU allowed are auto, mpi, mccl"),
        ("mpi", "GPU", "--backend mpi: on GPU allowed are auto, nccl"),
        ("none", "CPU", "--backend none: 2 ranks would train 2 networks"),
    ],
)
def test_one_that_the_device_does_not_have_is_refused(wanted, device, message):
    with pytest.raises(ValueError, match=message):
        choose_backend(wanted, device, 2)


def test_the_scheduler_sees_no_launcher():
    seen = scheduler_environment(
        {"OMPI_COMM_WORLD_RANK": "0", "PMIX_RANK": "0", "PMI_SIZE": "2", "HOME": "/h"}, {"MS_SCHED_PORT": "1"}
    )
    assert {name: seen[name] for name in seen if name != "PYTHONPATH"} == {
        "HOME": "/h",
        "MS_SCHED_PORT": "1",
        "MS_ROLE": "MS_SCHED",
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs of the same two steps with BatchNorm over all ranks: one rank, and two ranks by either back end."""
    runs = {}
    for ranks, backend, batch in ((None, "auto", 16), (2, "mpi", 8), (2, "mccl", 8)):
        run = tmp_path_factory.mktemp("runs") / "run"
        flags = ("--max_steps", 2, "--backend", backend, "--batch_size", batch, "--sync_batch_norm", "--run_dir", run)
        done = command("launch.train", *TINY, *flags, ranks=ranks)
        assert done.stderr == ""
        runs[backend] = run, done
    return runs


def weights(run):
    import mindspore as ms

    (folder,) = (run / "checkpoints").iterdir()
    return {name: value.asnumpy() for name, value in ms.load_checkpoint(str(folder / "weights.ckpt")).items()}


@pytest.mark.slow
def test_mccl_trains_the_same_weights_as_mpi(trained):
    (ours, _), (theirs, done) = trained["mpi"], trained["mccl"]
    assert "2 ranks on CPU (mccl)" in done.stdout
    ours, theirs = weights(ours), weights(theirs)
    assert ours.keys() == theirs.keys()
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_synchronised_batch_norm_makes_two_ranks_one(trained):
    # Without it the first loss is 1 % off.
    one, two = ([record["loss"] for record in metrics(trained[name][0])] for name in ("auto", "mccl"))
    assert two == pytest.approx(one, rel=1e-3)


def test_networks_with_branches_refuse_it():
    with pytest.raises(ValueError, match="--sync_batch_norm: genet normalises on parallel branches"):
        read_settings(["--net", "genet", "--sync_batch_norm"], "launch.train")


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_killed_rank_takes_the_scheduler_along_and_frees_its_port(tmp_path, victim):
    run = tmp_path / "run"
    process = start(run, *TINY, "--epochs", 50, "--backend", "mccl")
    wait_for_steps(run, process)
    (scheduler,) = (
        pid
        for pid in processes_of(run)
        if b"launch.host.mindspore_scheduler" in Path(f"/proc/{pid}/cmdline").read_bytes()
    )
    environment = dict(
        word.split("=", 1) for word in Path(f"/proc/{scheduler}/environ").read_text().split("\0") if "=" in word
    )
    port = int(environment["MS_SCHED_PORT"])
    with pytest.raises(OSError), socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
    os.kill(ranks_of(run)[victim], signal.SIGKILL)
    code, _, _ = ends(process, run)
    assert code != 0
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", port))
