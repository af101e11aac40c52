"""Folders, lists and records: which samples there are, and what is refused."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from cellwright.dataloader import Cifar10, ImageFolder, ListFile, Pack, PackWriter, Sampler
from cellwright.dataloader.decode.picture import Encoded
from cellwright.dataloader.sources import image_suffixes as formats
from cellwright.dataloader.sources.image_suffixes import EXTENSIONS
from cellwright.dataloader.sources.source import PathList


@pytest.fixture
def tree(tmp_path):
    """b/ with 2 images, a/ with 3, an empty class, and files that are no images."""
    for name in (
        "b/2.JPEG",
        "b/10.png",
        "a/x.jpg",
        "a/y.webp",
        "a/Ä.bmp",
        "a/notes.txt",
        "c/.keep",
        "readme.md",
    ):
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    old = time.time() - 100
    for name in ("a", "b", "c", ""):
        os.utime(tmp_path / "set" / name, (old, old))
    return tmp_path / "set"


def test_classes_and_files_come_in_the_order_of_their_names(tree):
    source = ImageFolder(tree)
    assert source.classes == ["a", "b", "c"]
    assert source.labels.tolist() == [0, 0, 0, 1, 1]
    names = ["a/x.jpg", "a/y.webp", "a/Ä.bmp", "b/10.png", "b/2.JPEG"]
    assert [source.path(k) for k in range(5)] == [str(tree / name) for name in names]


def test_what_is_no_image_is_counted_by_kind(tree, tmp_path):
    assert ImageFolder(tree).skipped == {".md": 1, ".txt": 1, "hidden": 1}
    for name in ("a/._x.jpg", "a/z.heic", "b/more/1.jpg", ".git/x.jpg", "a/LICENSE"):
        (tree / name).parent.mkdir(exist_ok=True)
        (tree / name).write_bytes(b"")
    for folder in (tree, tree / "a", tree / "b", tree / "c"):
        os.utime(folder, (time.time() - 100,) * 2)
    for _ in range(2):  # listed, and read from the index
        source = ImageFolder(tree, tmp_path / "index")
        assert source.classes == ["a", "b", "c"] and len(source) == 5
        assert source.skipped_line() == "1 .heic, 1 .md, 1 .txt, 1 folder, 3 hidden, 1 without extension"


def test_classes_of_numbers_may_be_sorted_by_value(tmp_path):
    for name in ("2", "10", "1", "x3", "x12"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").write_bytes(b"")
    assert ImageFolder(tmp_path).classes == ["1", "10", "2", "x12", "x3"]
    source = ImageFolder(tmp_path, sort_classes="number")
    assert source.classes == ["1", "2", "10", "x3", "x12"]
    assert [os.path.basename(os.path.dirname(source.path(k))) for k in range(5)] == source.classes
    with pytest.raises(ValueError, match="sort_classes='size': allowed are name, number"):
        ImageFolder(tmp_path, sort_classes="size")


def test_every_kind_that_opencv_reads_is_read(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    (tmp_path / "x").mkdir()
    for extension in EXTENSIONS:
        if extension != ".gif":
            assert cv2.imwrite(str(tmp_path / "x" / f"image{extension}"), image)
        else:
            (tmp_path / "x" / "image.gif").write_bytes(formats._SMALLEST_GIF)
    source = ImageFolder(tmp_path)
    assert len(source) == len(EXTENSIONS) and not source.skipped
    for k in range(len(source)):
        picture = Encoded(source.read(k)) if not source.path(k).endswith("gif") else None
        assert picture is None or picture.pixels()[0].shape == (40, 50, 3)


def test_a_kept_index_is_used_until_a_class_folder_changes(tree, tmp_path, monkeypatch):
    index = tmp_path / "run" / "index"
    first = ImageFolder(tree, index)
    assert index.exists()
    with monkeypatch.context() as patch:
        patch.setattr(ImageFolder, "_scan", None)  # would raise
        again = ImageFolder(tree, index)
        assert [again.path(k) for k in range(5)] == [first.path(k) for k in range(5)]
        assert np.array_equal(again.labels, first.labels) and again.classes == first.classes
    (tree / "b" / "3.jpg").write_bytes(b"")
    assert len(ImageFolder(tree, index)) == 6
    (tree / "d").mkdir()
    assert ImageFolder(tree, index).classes == ["a", "b", "c", "d"]
    index.write_bytes(b"nonsense")
    assert len(ImageFolder(tree, index)) == 6


def test_a_listing_of_folders_that_just_changed_is_not_kept(tree, tmp_path):
    (tree / "b" / "4.jpg").write_bytes(b"")
    ImageFolder(tree, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_progress_is_told(tree):
    told = []
    ImageFolder(tree, progress=told.append)
    assert told == [3, 5, 5]


def test_folders_without_what_is_needed_are_refused(tree, tmp_path):
    for path, message in (
        (tmp_path / "none", "no such folder"),
        (tree / "a", "no class folders"),
        (tmp_path / "e", "no images"),
    ):
        (tmp_path / "e" / "class").mkdir(parents=True, exist_ok=True)
        with pytest.raises(ValueError, match=message):
            ImageFolder(path)


@pytest.mark.parametrize("label", ["-1", "1000000", "99999999999999"])
def test_a_list_s_label_that_is_no_class_is_refused_with_its_line(tmp_path, label):
    (tmp_path / "list.txt").write_text(f"a.jpg 0\nb.jpg {label}\n")
    with pytest.raises(ValueError, match=f"list.txt:2: label {label}: must be from 0 to 999999"):
        ListFile(tmp_path / "list.txt")
    (tmp_path / "list.txt").write_text("a.jpg 0\nb.jpg 2\n")
    assert ListFile(tmp_path / "list.txt").classes == ["0", "1", "2"]
    assert ListFile(tmp_path / "list.txt", classes=("x", "y", "z", "unseen")).classes == ["x", "y", "z", "unseen"]
    with pytest.raises(ValueError, match="list.txt:2: label 2: must be from 0 to 1"):
        ListFile(tmp_path / "list.txt", classes=("x", "y"))


@pytest.mark.parametrize("label", [-1, 3])
def test_a_pack_s_label_that_is_no_class_is_refused(tmp_path, label):
    writer = PackWriter(tmp_path / "a.pack", ["x", "y", "z"])
    writer.add("a", label, b"")
    writer.finish()
    with pytest.raises(ValueError, match=rf"a.pack: label {label}: must be from 0 to 2 \(3 classes\)"):
        Pack(tmp_path / "a.pack")


_AS_NOBODY = """
import os, sys
from cellwright.launch.data import open_sources
from cellwright.launch.settings.run_settings import RunSettings
if not os.getuid():
    os.seteuid(65534)  # root reads everything
try:
    open_sources(RunSettings(data_path=sys.argv[1]))
except ValueError as error:
    print(error)
"""


def test_a_class_folder_that_may_not_be_read_is_named(tree):
    (tree / "b").chmod(0)
    for folder in tree.parents:
        if str(folder).startswith(tempfile.gettempdir() + os.sep):
            folder.chmod(0o755)
    line = [sys.executable, "-c", _AS_NOBODY, str(tree)]
    done = subprocess.run(line, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout == f"--data_path {tree / 'b'}: Permission denied\n", done.stderr


def test_lists_of_paths_pack_and_join():
    names = ["a", "", "ü/b.jpg", "c" * 300]
    joined = PathList.join([PathList.pack(names), PathList.pack([]), PathList.pack(names[::-1])])
    assert len(joined) == 8 and [joined[k] for k in range(8)] == names + names[::-1]


def test_cifar_folders_of_every_kind(tmp_path):
    def write(path, count, label=1):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.full((count, 3073), label, np.uint8).tofile(path)

    official = tmp_path / "official"
    write(official / "cifar-10-batches-bin" / "data_batch_1.bin", 3)
    write(official / "cifar-10-batches-bin" / "test_batch.bin", 2)
    assert len(Cifar10(official)) == 3 and len(Cifar10(official, "eval")) == 2
    assert len(Cifar10(official / "cifar-10-batches-bin")) == 3
    with pytest.raises(ValueError, match="split='val'"):
        Cifar10(official, "val")
    with pytest.raises(ValueError, match="no CIFAR-10 binary file"):
        Cifar10(tmp_path)
    with open(official / "cifar-10-batches-bin" / "data_batch_2.bin", "wb") as out:
        out.write(bytes(3074))
    with pytest.raises(ValueError, match="no whole number"):
        Cifar10(official)
    write(official / "cifar-10-batches-bin" / "data_batch_2.bin", 1, label=200)
    with pytest.raises(ValueError, match="data_batch_2.bin#0: label 200"):
        Cifar10(official)


@pytest.mark.slow
def test_a_tree_of_imagenet_s_size_is_listed_and_planned_in_little_memory(tmp_path, capsys):
    for c in range(1000):
        (tmp_path / "set" / f"n{c:08d}").mkdir(parents=True)
        for k in range(1280):
            os.close(os.open(tmp_path / "set" / f"n{c:08d}" / f"n{c:08d}_{k * 37}.JPEG", os.O_CREAT | os.O_WRONLY))
    time.sleep(2.1)
    spent = [time.perf_counter()]
    for _ in range(2):
        source = ImageFolder(tmp_path / "set", tmp_path / "index")
        spent.append(time.perf_counter())
    sampler = Sampler(len(source), 256)
    sampler.order(0)
    spent.append(time.perf_counter())
    order = sampler.order(1)
    spent.append(time.perf_counter())
    assert len(source) == 1_280_000 and source.path(1_279_999).endswith("n00000999_9990.JPEG")
    assert order.nbytes + source.labels.nbytes + source.names.blob.nbytes + source.names.offsets.nbytes < 200e6
    with capsys.disabled():
        print(f"\nlist, cached list, first order, order: {np.diff(spent).round(3)} s")
