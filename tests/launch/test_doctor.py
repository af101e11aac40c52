import socket

import numpy as np
import pytest
from runs import command

from launch import doctor
from launch.world import World


@pytest.mark.parametrize("ranks", [None, 2, 3])
def test_where_training_would_start_it_says_so(ranks):
    done = command("launch.doctor", ranks=ranks)
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("training would start")
    assert not [line for line in lines if line.startswith("FAIL")]
    assert ("Open MPI" in done.stdout) == (f"allreduce over {ranks} ranks is right" in done.stdout) == (ranks is not None)


def test_a_missing_device_is_a_failure_with_a_fix():
    done = command("launch.doctor", "--device_target", "GPU", check=False)
    assert done.returncode == 1
    assert "FAIL  GPU" in done.stdout and "fix: " in done.stdout and "training would not start" in done.stdout


def test_a_folder_that_cannot_be_written(tmp_path):
    (found,) = doctor.check_disk(tmp_path / "missing")
    assert found.level == "FAIL" and "--run_dir" in found.fix


def test_a_full_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1e8})())
    (found,) = doctor.check_disk(tmp_path)
    assert found.level == "FAIL" and found.what.startswith("0.1 GB")


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(doctor, "_available_mb", lambda: 100)
    (found,) = doctor.check_memory()
    assert found.level == "FAIL" and "--batch_size" in found.fix


def test_no_port(monkeypatch):
    def refuse(self, address):
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(doctor.socket, "socket", type("Closed", (socket.socket,), {"bind": refuse}))
    (found,) = doctor.check_port()
    assert found.level == "FAIL" and "Permission denied" in found.what


def test_an_allreduce_that_lies():
    class Liar(World):
        def __init__(self):
            self.rank, self.size = 0, 2

        def barrier(self):
            pass

        def allreduce(self, array):
            return np.zeros_like(array)

    (found,) = doctor.check_collective(Liar())
    assert found.level == "FAIL" and "wrong sum" in found.what


def test_a_rank_table_that_is_not_there():
    (found,) = doctor.check_rank_table("Ascend", {"RANK_TABLE_FILE": "/nowhere.json"})
    assert found.level == "FAIL" and "launch.ranktable" in found.fix
    assert doctor.check_rank_table("CPU", {"RANK_TABLE_FILE": "/nowhere.json"}) == []
