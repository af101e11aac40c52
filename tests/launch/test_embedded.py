import subprocess
import sys

import cv2
import numpy as np
import pytest

from cellwright.launch.settings.embedded_images import (
    CLASSES,
    HELD_BACK,
    TRAIN,
    embedded_dataset,
    records,
    ridge_accuracy,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return embedded_dataset(tmp_path_factory.mktemp("cache"))


def test_the_cut_is_balanced():
    labels, _ = records()
    assert np.bincount(labels[:TRAIN]).tolist() == [TRAIN // 10] * 10
    assert np.bincount(labels[TRAIN:]).tolist() == [HELD_BACK // 10] * 10


def test_no_held_back_image_is_trained_on():
    _, pixels = records()
    train = {image.tobytes() for image in pixels[:TRAIN]}
    assert not train & {image.tobytes() for image in pixels[TRAIN:]}


def test_class_folders_sort_by_label_and_hold_the_pixels(folder):
    labels, pixels = records()
    for split, part in (("train", slice(0, TRAIN)), ("val", slice(TRAIN, None))):
        names = sorted(path.name for path in (folder / split).iterdir())
        assert names == [f"{label}-{name}" for label, name in enumerate(CLASSES)]
        for label, name in enumerate(names):
            files = sorted((folder / split / name).iterdir())
            images = np.stack([cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in files])
            assert np.array_equal(images, pixels[part][labels[part] == label])


def test_records_have_the_form_of_cifar_10(folder):
    labels, pixels = records()
    for name, part in (
        ("cifar-10-batches-bin/data_batch_1.bin", slice(0, TRAIN)),
        ("cifar-10-verify-bin/test_batch.bin", slice(TRAIN, None)),
    ):
        rows = np.fromfile(folder / name, np.uint8).reshape(-1, 3073)
        planes = rows[:, 1:].reshape(-1, 3, 32, 32)
        assert np.array_equal(rows[:, 0], labels[part])
        assert np.array_equal(planes[:, :, 2:30, 2:30], np.repeat(pixels[part][:, None], 3, axis=1))
        assert planes[:, :, :2].max() == planes[..., 30:].max() == 0


def test_processes_that_write_it_at_once_get_one_whole_folder(tmp_path):
    code = (
        "import sys; from cellwright.launch.settings.embedded_images import embedded_dataset; "
        "print(embedded_dataset(sys.argv[1]))"
    )
    started = [subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE) for _ in range(3)]
    folders = {process.communicate()[0].decode().strip() for process in started}
    assert len(folders) == 1
    assert [path.name for path in tmp_path.iterdir()] == [folders.pop().rsplit("/", 1)[1]]


def test_ridge_is_far_above_chance_and_below_a_good_net():
    assert 0.75 < ridge_accuracy() < 0.85
