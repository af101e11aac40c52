import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from runs import command

from cellwright.launch import doctor
from cellwright.launch.host.cores import CorePlan
from cellwright.launch.host.mpi_world import World
from cellwright.launch.host.rank_table import table_for


@pytest.mark.parametrize("ranks", [None, 2, 3])
def test_where_training_would_start_it_says_so(ranks):
    done = command("launch.doctor", ranks=ranks)
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("training would start")
    assert not [line for line in lines if line.startswith("FAIL")]
    assert (
        ("Open MPI" in done.stdout) == (f"allreduce over {ranks} ranks is right" in done.stdout) == (ranks is not None)
    )


def test_a_missing_device_is_a_failure_with_a_fix():
    done = command("launch.doctor", "--device_target", "GPU", check=False)
    assert done.returncode == 1
    assert "FAIL  GPU" in done.stdout and "fix: " in done.stdout and "training would not start" in done.stdout


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        (found,) = doctor.check_disk(folder)
        assert found.level == "FAIL" and "--run_dir" in found.fix and f"{tmp_path}/file cannot" in found.what


def test_a_folder_that_a_run_would_make_is_none_that_cannot_be_written(tmp_path):
    (found,) = doctor.check_disk(tmp_path / "new" / "run")
    assert found.level == "OK" and not (tmp_path / "new").exists()


@pytest.mark.parametrize("line", ["--batch_size 0", "--image_size -1", "--workers 0", "--val_data_path val"])
def test_what_cannot_be_looked_at_is_one_line(capsys, line):
    with pytest.raises(SystemExit) as end:
        doctor.main(line.split())
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.startswith(f"python -m launch.doctor: {line}: ") and error.count("\n") == 1


def test_a_full_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1e8})())
    (found,) = doctor.check_disk(tmp_path)
    assert found.level == "FAIL" and found.what.startswith("0.1 GB")


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(doctor, "available_memory", lambda: 100 << 20)
    (found,) = doctor.check_memory(World())
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


def test_the_cgroup_limits_the_memory(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 8388608 kB\n")
    (tmp_path / "memory.max").write_text("1073741824\n")
    (tmp_path / "memory.current").write_text("536870912\n")
    assert doctor.available_memory(tmp_path / "meminfo", tmp_path) == 512 << 20
    (tmp_path / "memory.max").write_text("max\n")
    assert doctor.available_memory(tmp_path / "meminfo", tmp_path) == 8192 << 20


def test_a_small_shm_is_a_warning_where_ranks_share_a_host(monkeypatch):
    monkeypatch.setattr(doctor, "_shm_mb", lambda: 64)
    monkeypatch.setattr(doctor, "this_host", lambda world: [CorePlan((0,), (0,))] * 2)
    world = World()
    assert [found.level for found in doctor.check_memory(world)] == ["OK"]
    world.local_size = 2
    assert [found.level for found in doctor.check_memory(world)] == ["OK", "WARN"]


CONF = "address_0=10.0.0.1\naddress_1=10.0.0.2\n"


@pytest.mark.parametrize("change, level", [(None, "OK"), ("10.0.0.9", "FAIL")])
def test_a_rank_table_is_checked_against_the_world(tmp_path, change, level):
    conf, table = tmp_path / "hccn.conf", tmp_path / "table.json"
    conf.write_text(CONF)
    made = table_for(World(), hccn_conf=conf, environment={})
    text = Path(made).read_text()
    os.unlink(made)
    table.write_text(text.replace("10.0.0.1", change or "10.0.0.1"))
    (found,) = doctor.check_rank_table(World(), "Ascend", str(table), conf, {})
    assert found.level == level
    (found,) = doctor.check_rank_table(World(), "Ascend", None, conf, {"RANK_TABLE_FILE": str(table)})
    assert found.level == level


def test_a_rank_table_that_is_not_there():
    (found,) = doctor.check_rank_table(World(), "Ascend", None, "/nowhere", {"RANK_TABLE_FILE": "/nowhere.json"})
    assert found.level == "FAIL" and "launch.ranktable" in found.fix
    (found,) = doctor.check_rank_table(World(), "Ascend", None, "/nowhere", {})
    assert found.level == "WARN"
    assert doctor.check_rank_table(World(), "CPU", None, "/nowhere", {"RANK_TABLE_FILE": "/nowhere.json"}) == []


@pytest.fixture
def photos(tmp_path):
    """train/ and val/ of two classes with one of each trouble."""
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 255, (20, 30, 3)).astype(np.uint8))
    train = tmp_path / "train"
    (train / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    (train / "cat" / "notes.txt").write_text("not a picture")
    (train / "dog" / "._1.png").write_bytes(b"left by another system")
    (train / "dog" / "both.png").write_bytes((train / "cat" / "0.png").read_bytes())
    (train / "dog" / "again.png").write_bytes((train / "dog" / "1.png").read_bytes())
    (tmp_path / "val" / "dog" / "leak.png").write_bytes((train / "dog" / "2.png").read_bytes())
    (train / "dog" / "png.jpg").write_bytes(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    return tmp_path


def test_images_that_are_unusable_skipped_or_mislabelled_are_counted(photos):
    done = command("launch.doctor", "--data_path", photos, check=False)
    text = done.stdout
    assert done.returncode == 1 and "training would not start" in text
    assert "training: 16 images in 2 classes, 7 to 9 a class" in text
    assert "FAIL  training: 1 of 16 files cannot be used (6.25 %)" in text and "broken.jpg: " in text
    assert "training: skipped 1 .txt, 1 hidden" in text
    assert "1 pictures have two labels" in text and "cat/0.png = " in text and "dog/both.png" in text
    assert "1 pictures are in training and held back" in text and "leak.png" in text
    assert "1 pictures are there more than once under one label" in text and "again.png" in text
    assert "1 files with another ending than content" in text and "png.jpg is png" in text
    assert "OK    held back: every file can be read and decoded" in text


def test_a_path_without_images_is_a_failure(tmp_path):
    (found,) = doctor.check_data(World(), str(tmp_path / "nothing"))
    assert found.level == "FAIL" and found.what == f"--data_path {tmp_path}/nothing: no such file or folder"
