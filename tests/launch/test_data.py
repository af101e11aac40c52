"""What launch.train makes of data: damaged files, packs, list files, ledgers."""

import csv
import shutil

import pytest
from photos import photos_of
from runs import command, metrics, session

from cellwright.launch.data import open_sources
from cellwright.launch.settings.run_settings import RunSettings

FLAGS = "--net tinydarknet --image_size 32 --batch_size 16 --lr 0.01 --eval_interval 0 --data_path"
SESSION = {
    "folder": f"train {FLAGS} DATA --epochs 1 --run_dir WORK/folder --ledger WORK/folder.csv",
    "packed": "pack --data_path DATA/train --out WORK/train.pack",
    "pack": f"train {FLAGS} WORK/train.pack --epochs 1 --run_dir WORK/pack --ledger WORK/pack.csv",
    "list": f"train {FLAGS} DATA/train/list.txt --epochs 1 --run_dir WORK/list --ledger WORK/list.csv "
    "--verify_ledger WORK/folder.csv",
    "damaged": f"train {FLAGS} DAMAGED --epochs 2 --run_dir WORK/damaged --workers 2 --max_bad 0.05",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return photos_of(tmp_path_factory.mktemp("data"), count=30)


@pytest.fixture(scope="module")
def damaged(data, tmp_path_factory):
    """A copy of the data, and the one file in it that is cut short."""
    root = tmp_path_factory.mktemp("damaged") / "data"
    shutil.copytree(data, root)
    victim = sorted((root / "train").rglob("*.png"))[7]
    victim.write_bytes(victim.read_bytes()[:60])
    return root, victim


def write_list(folder):
    """Writes list.txt into a folder of class folders: its images, each with its class."""
    classes = sorted(path.name for path in folder.iterdir())
    lines = [f"{name}/{path.name} {classes.index(name)}\n" for name in classes for path in (folder / name).iterdir()]
    (folder / "list.txt").write_text("".join(sorted(lines)))


@pytest.fixture(scope="module")
def work(data, damaged, tmp_path_factory):
    """The folder of what the lines of SESSION wrote; damaged.txt: what that run said."""
    work = tmp_path_factory.mktemp("work")
    write_list(data / "train")
    results = session(SESSION, {"DATA": data, "DAMAGED": damaged[0], "WORK": work}, work)
    for name, (code, _, errors) in results.items():
        assert code == 0, (name, errors)
    (work / "damaged.txt").write_text(results["damaged"][1])
    return work


@pytest.mark.parametrize("form", ["pack", "list"])
def test_the_batches_are_the_same_bytes_in_every_form_of_the_data(work, form):
    assert (work / f"{form}.csv").read_text() == (work / "folder.csv").read_text()


def test_training_images_alone_are_no_held_back_ones(data, tmp_path):
    shutil.copytree(data / "train", tmp_path / "train")
    settings = RunSettings(data_path=str(tmp_path), dataset="imagenet2012")
    training, held_back = open_sources(settings)
    assert len(training) == 90 and held_back is None
    with pytest.raises(ValueError, match="holds train/ and no val/: --val_data_path names the held-back images"):
        open_sources(settings, train=False)
    (tmp_path / "train").rename(tmp_path / "photos")
    settings = RunSettings(data_path=str(tmp_path / "photos"), dataset="imagenet2012")
    assert len(open_sources(settings, train=False)[1]) == 90  # a split that was named is the one


def test_a_ledger_of_another_seed_ends_the_run(data, work, tmp_path):
    flags = ("--run_dir", tmp_path / "run", *FLAGS.split(), data, "--seed", 2)
    done = command("launch.train", *flags, "--verify_ledger", work / "folder.csv", check=False)
    assert done.returncode == 1 and "LedgerMismatch: epoch 0, batch 0" in done.stderr


def test_a_damaged_file_is_listed_and_the_run_goes_on(damaged, work):
    assert len(metrics(work / "damaged")) == 2 * (90 // 16)
    with open(work / "damaged" / "quarantine.csv") as lines:
        (row,) = csv.DictReader(lines)
    assert row["path"] == str(damaged[1]) and row["reason"]
    assert "1 unreadable file replaced by others" in (work / "damaged.txt").read_text()


def test_too_many_damaged_files_end_the_run(damaged, tmp_path):
    root, victim = damaged
    flags = ("--run_dir", tmp_path / "run", *FLAGS.split(), root, "--max_bad", 0.001)
    done = command("launch.train", *flags, check=False)
    assert done.returncode == 1
    assert "1 of 90 files cannot be used, --max_bad 0.001 allows 0" in done.stderr and str(victim) in done.stderr
    assert "Traceback" not in done.stderr and "--max_bad 0.023 and more" in done.stderr
