"""launch.speedrun: its files are read to the byte, and a run learns and says what it reached."""

import gzip
import json
import struct

import numpy as np
import pytest
from runs import command

from cellwright.launch.speedrun import __main__ as speedrun
from cellwright.launch.speedrun import images
from cellwright.launch.speedrun.recipe import Recipe


def write_files(root, **counts):
    """Fashion-MNIST's files, a picture of class k with a bright row 2k + 2; returns {prefix: (labels, pixels)}."""
    draw, written = np.random.default_rng(1), {}
    for prefix, count in counts.items():
        labels = draw.integers(0, 10, count).astype(np.uint8)
        pixels = draw.integers(0, 50, (count, 28, 28)).astype(np.uint8)
        pixels[np.arange(count), 2 * labels + 2] += 200
        with gzip.open(root / f"{prefix}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">2I", 0x801, count) + labels.tobytes())
        with gzip.open(root / f"{prefix}-images-idx3-ubyte.gz", "wb") as file:
            file.write(struct.pack(">4I", 0x803, count, 28, 28) + pixels.tobytes())
        written[prefix] = labels, pixels
    return written


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("idx")
    write_files(root, train=1280, t10k=150)
    return root


def test_files_are_read_to_the_byte(tmp_path):
    written = write_files(tmp_path, train=30, t10k=20)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        labels, pixels = written[prefix]
        found = images.read_records(tmp_path, split)
        planes = found[:, 1:].reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(found[:, 0], labels)
        for plane in range(3):
            np.testing.assert_array_equal(planes[:, plane, 2:30, 2:30], pixels)
        assert planes.sum(dtype=np.int64) == 3 * pixels.sum(dtype=np.int64)  # the border is black


def test_tuning_never_sees_a_test_image(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "HELD_BACK_FOR_TUNING", 12)
    write_files(tmp_path, train=30, t10k=20)
    whole = images.read_records(tmp_path, "train")
    kept, held_back = (images.read_records(tmp_path, split, True) for split in ("train", "test"))
    np.testing.assert_array_equal(np.concatenate([kept, held_back]), whole)
    assert len(held_back) == 12


def test_rates_rise_to_the_highest_and_fall_to_nothing():
    recipe = Recipe(lr=0.5)
    rates = np.array([recipe.rate(step, 1000) for step in range(1000)])
    top = int(recipe.warmup * 1000)
    assert (np.diff(rates[:top]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates.max() == pytest.approx(0.5, rel=1e-2) and max(rates[0], rates[-1]) < 0.005


@pytest.mark.parametrize(
    "words, told",
    [
        (("--data_path", "/nowhere"), "/nowhere/train-labels-idx1-ubyte.gz: No such file"),
        (("--batch_size", "200"), "--batch_size 200: FOLDER has 150 test images"),
        (("--runs", "0"), "--runs 0: must be at least 1"),
        (("--seed", "-1"), "--seed -1: must be at least 1"),
        (("--lr", "0"), "--lr 0.0: must be more than 0"),
        (("--widths", "16"), "--widths (16,): must be two and more"),
        (("--tune",), "--tune: FOLDER/train-* has 1280 images, 5000 would be held back"),
        (("--torch", "/nowhere/python", "--batch_size", "150"), "--torch /nowhere/python: no Python interpreter"),
    ],
)
def test_what_cannot_work_is_one_line(folder, capsys, words, told):
    assert speedrun.main(["fashion-mnist", "--data_path", str(folder), *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("python -m launch.speedrun: ") and said.count("\n") == 1
    assert told.replace("FOLDER", str(folder)) in said


@pytest.mark.parametrize("damage", [lambda whole: whole[:-9], lambda whole: whole[:50] + b"\xff" * 20 + whole[70:]])
def test_a_damaged_file_is_named(tmp_path, damage):
    write_files(tmp_path, train=30, t10k=20)
    file = tmp_path / "train-images-idx3-ubyte.gz"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ValueError, match="train-images-idx3-ubyte.gz|images of 28x28"):
        images.read_records(tmp_path, "train")


@pytest.mark.alone
def test_a_run_learns_and_says_what_it_reached(folder, tmp_path):
    line = ["fashion-mnist", "--data_path", folder, "--runs", 1, "--epochs", 1, "--batch_size", 16, "--lr", 0.1]
    done = command("launch.speedrun", *line, "--widths", "8,8,16", "--json", tmp_path / "report.json", check=False)
    side = json.loads((tmp_path / "report.json").read_text())["sides"]["ours"]
    assert side["runs"], done.stderr
    run = side["runs"][0]
    assert run["top1"] > 60 and done.returncode == (run["top1"] < 94)
    assert f"mean {run['top1']:.2f} % of 1 runs" in done.stdout
    assert 0 < run["marks_s"][0] < run["marks_s"][1] < run["marks_s"][2] <= run["seconds"]
