"""What launch.train makes of data: damaged files, packs, list files, ledgers."""

import csv
import shutil

import pytest
from runs import command, metrics

from cellwright.launch.data import open_sources
from cellwright.launch.settings.embedded_images import embedded_dataset
from cellwright.launch.settings.run_settings import RunSettings

FLAGS = ("--net", "tinydarknet", "--image_size", 32, "--batch_size", 16, "--lr", 0.01, "--eval_interval", 0)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    source, root = embedded_dataset(tmp_path_factory.mktemp("cache")), tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        for folder in sorted((source / split).iterdir())[:3]:
            (root / split / folder.name).mkdir(parents=True)
            for path in sorted(folder.iterdir())[:30]:
                shutil.copy(path, root / split / folder.name)
    return root


def train(tmp_path_factory, *flags, **options):
    run = tmp_path_factory.mktemp("runs") / "run"
    return run, command("launch.train", "--run_dir", run, *FLAGS, *flags, **options)


@pytest.fixture(scope="module")
def ledger(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("ledger") / "ledger.csv"
    train(tmp_path_factory, "--data_path", data, "--ledger", path, "--epochs", 1)
    return path


def test_the_batches_of_a_folder_and_of_its_pack_are_the_same_bytes(data, ledger, tmp_path_factory):
    pack = tmp_path_factory.mktemp("pack") / "train.pack"
    command("launch.pack", "--data_path", data / "train", "--out", pack)
    own = pack.with_name("ledger.csv")
    train(tmp_path_factory, "--data_path", pack, "--ledger", own, "--epochs", 1)
    assert own.read_text() == ledger.read_text()


def test_the_batches_of_a_list_file_are_the_folder_s(data, ledger, tmp_path_factory):
    classes = sorted(folder.name for folder in (data / "train").iterdir())
    lines = [
        f"{path.relative_to(data / 'train')} {label}\n"
        for label, name in enumerate(classes)
        for path in sorted((data / "train" / name).iterdir())
    ]
    (data / "train" / "list.txt").write_text("".join(lines))
    own = tmp_path_factory.mktemp("list") / "ledger.csv"
    flags = ("--data_path", data / "train" / "list.txt", "--epochs", 1)
    train(tmp_path_factory, *flags, "--ledger", own, "--verify_ledger", ledger)
    assert own.read_text() == ledger.read_text()
    (data / "train" / "list.txt").unlink()


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


def test_a_ledger_of_another_seed_ends_the_run(data, ledger, tmp_path_factory):
    _, done = train(tmp_path_factory, "--data_path", data, "--seed", 2, "--verify_ledger", ledger, check=False)
    assert done.returncode == 1 and "LedgerMismatch: epoch 0, batch 0" in done.stderr


@pytest.fixture(scope="module")
def damaged(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("damaged") / "data"
    shutil.copytree(data, root)
    victim = sorted((root / "train").rglob("*.png"))[7]
    victim.write_bytes(victim.read_bytes()[:60])
    return root, victim


def test_a_damaged_file_is_listed_and_the_run_goes_on(damaged, tmp_path_factory):
    root, victim = damaged
    run, done = train(tmp_path_factory, "--data_path", root, "--max_bad", 0.05, "--epochs", 2, "--workers", 2)
    assert len(metrics(run)) == 2 * (90 // 16)
    with open(run / "quarantine.csv") as lines:
        (row,) = csv.DictReader(lines)
    assert row["path"] == str(victim) and row["reason"]
    assert "1 unreadable file replaced by others" in done.stdout


def test_too_many_damaged_files_end_the_run(damaged, tmp_path_factory):
    root, victim = damaged
    _, done = train(tmp_path_factory, "--data_path", root, "--max_bad", 0.001, check=False)
    assert done.returncode == 1
    assert "1 of 90 files cannot be used, --max_bad 0.001 allows 0" in done.stderr and str(victim) in done.stderr
    assert "Traceback" not in done.stderr and "--max_bad 0.023 and more" in done.stderr
