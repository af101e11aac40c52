"""The loader: the same bytes for any number of workers and ranks and after any stop; nothing left behind."""

import cv2
import numpy as np
import pytest
from loader_cases import digest

from cellwright.dataloader import Cifar10, EvalTransform, ImageFolder, ListFile, Loader, TrainTransform

TRAIN = TrainTransform(24)


def digests(source, transform=TRAIN, epochs=(0, 1), **settings):
    with Loader(source, 8, transform, seed=3, **settings) as loader:
        return [[digest(batch) for batch in loader.epoch(e)] for e in epochs]


@pytest.fixture(scope="module")
def images(folder):
    return ImageFolder(folder)


def test_batches_do_not_depend_on_the_number_of_workers(images, cifar):
    pad = TrainTransform(32, crop="pad")
    for source, transform in ((images, TRAIN), (Cifar10(cifar), pad), (Cifar10(cifar), TRAIN), (images, pad)):
        first = digests(source, transform, workers=1)
        assert first[0] != first[1]
        for workers in (2, 3, 5):
            assert digests(source, transform, workers=workers) == first


def test_ranks_interleave_to_one_rank(images):
    one = digests(images, workers=2, tail="wrap")[1]
    for size in (2, 3):
        for rank in range(size):
            mine = digests(images, workers=1, rank=rank, size=size, tail="wrap")[1]
            assert mine[: len(one) // size] == one[rank::size][: len(one) // size]


def test_an_epoch_resumes_at_any_batch_and_again(images):
    whole = digests(images, workers=2)[0]
    with Loader(images, 8, TRAIN, seed=3, workers=2) as loader:
        for start in (1, 3, 2):  # the third start goes back
            rest = loader.epoch(0, start)
            assert digest(next(rest)) == whole[start]
        assert [digest(b) for b in loader.epoch(0, 0)] == whole
        assert list(loader.epoch(0, len(loader))) == []


def test_an_older_iterator_says_that_it_has_ended(images):
    with Loader(images, 8, TRAIN, workers=1) as loader:
        old = loader.epoch(0)
        next(old)
        next(loader.epoch(1))
        with pytest.raises(RuntimeError, match="ended by a later call"):
            next(old)


def test_evaluation_yields_every_sample_once_and_masks_the_rest(images):
    seen = []
    for rank in range(2):
        with Loader(images, 8, EvalTransform(24), rank=rank, size=2, workers=2) as loader:
            for batch in loader.epoch(0):
                real = batch.ids >= 0
                assert np.array_equal(batch.weights, real.astype(np.float32))
                assert not batch.images[~real].any()
                assert np.array_equal(batch.labels[real], images.labels[batch.ids[real]])
                seen += batch.ids[real].tolist()
    assert sorted(seen) == list(range(37))


def test_pixels_are_those_of_opencv_step_by_step(folder, tmp_path):
    """A file without loss, so that only crop, resize and evaluation stand between it and the batch."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    (tmp_path / "x").mkdir()
    cv2.imwrite(str(tmp_path / "x" / "a.png"), image[..., ::-1])
    source = ImageFolder(tmp_path)
    for resize, size in (("shorter", (60, 40)), ("squash", (40, 40))):
        want = cv2.resize(image, size)[4:36, (size[0] - 32) // 2 :][:, :32]
        with Loader(source, 1, EvalTransform(32, resize, 40), workers=1) as loader:
            assert np.array_equal(next(loader.epoch(0)).images[0], want)
        # Antialiasing looks at the pixels of the crop alone; it must be the same place, so close to a blurred
        # picture's plain resize.
        with Loader(source, 1, EvalTransform(32, resize, 40, antialias=True), workers=1) as loader:
            got = next(loader.epoch(0)).images[0].astype(float)
        area = cv2.resize(image, size, interpolation=cv2.INTER_AREA)[4:36, (size[0] - 32) // 2 :][:, :32]
        assert np.corrcoef(got.ravel(), area.ravel())[0, 1] > 0.9


def test_float_output_is_the_normalised_uint8_output(images):
    mean, std = (123.7, 116.3, 103.5), (58.4, 57.1, 57.4)
    with (
        Loader(images, 8, TRAIN, seed=3, workers=2) as a,
        Loader(images, 8, TRAIN, seed=3, workers=2, output="float32", normalise=(mean, std)) as b,
    ):
        for x, y in zip(a.epoch(0), b.epoch(0)):
            want = ((x.images - np.float64(mean)) / std).transpose(0, 3, 1, 2)
            assert y.images.dtype == np.float32
            np.testing.assert_allclose(y.images, want, atol=1e-6)


def test_cifar_reads_each_split_and_never_trains_on_the_test_batch(cifar):
    train, held_out = Cifar10(cifar), Cifar10(cifar, "eval")
    assert (len(train), len(held_out)) == (101, 23)
    assert train.path(60).endswith("data_batch_2.bin#0")
    raw = np.fromfile(cifar / "cifar-10-batches-bin" / "data_batch_2.bin", np.uint8).reshape(-1, 3073)
    with Loader(train, 101, TrainTransform(32, crop="none", flip=0), shuffle=False, workers=1) as loader:
        batch = next(loader.epoch(0))
        assert np.array_equal(batch.images[60], raw[0, 1:].reshape(3, 32, 32).transpose(1, 2, 0))
        assert batch.labels[60] == raw[0, 0]


def test_list_files_stay_below_their_root(folder, tmp_path):
    lists = tmp_path / "list.txt"
    lists.write_text("class1/001.jpg 5\n\nclass2/002.jpg 0\n")
    source = ListFile(lists, folder)
    assert len(source) == 2 and source.label(0) == 5 and source.path(1) == str(folder / "class2" / "002.jpg")
    for line in ("../x.jpg 1", "/etc/passwd 1", "a/../../x.jpg 1"):
        lists.write_text(line)
        with pytest.raises(ValueError, match="leaves the root"):
            ListFile(lists, folder)
    lists.write_text("class1/001.jpg\n")
    with pytest.raises(ValueError, match=":1: "):
        ListFile(lists, folder)


def test_the_ring_says_what_it_needs_before_the_first_batch(images):
    with pytest.raises(MemoryError, match=r"needs \d+ MiB of shared memory"):
        Loader(images, 37, TrainTransform(200_000), workers=1)


@pytest.mark.parametrize(
    "wrong", (dict(output="int8"), dict(workers=-1), dict(hold=0), dict(output="float32"), dict(slots=1))
)
def test_wrong_settings_are_named(images, wrong):
    with pytest.raises(ValueError, match="="):
        Loader(images, 8, TRAIN, **wrong)


def resident(pid):
    """Kilobytes of memory of a process that are its own."""
    with open(f"/proc/{pid}/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def test_memory_does_not_grow_with_the_epochs(images):
    with Loader(images, 8, TRAIN, workers=2) as loader:
        sizes = []
        for epoch in range(60):
            for _ in loader.epoch(epoch):
                pass
            if epoch in (9, 59):
                sizes.append([resident(pid) for pid in (*loader.pids, loader.supervisor_pid)])
                sizes[-1].append(len(loader._pool._tasks) + len(loader._flights))
        assert all(after - before < 2048 for before, after in zip(*sizes)), sizes
        assert loader.nbytes < loader.slots * (8 * 24 * 24 * 3 + 3 * 4096) + 8 * 4096


def test_waiting_is_measured_and_batches_are_made_ahead(images, monkeypatch):
    with Loader(images, 8, TRAIN, workers=1) as loader:
        batches = loader.epoch(0)
        next(batches)
        assert loader.wait_s > 0
        while any(flight.open_tasks for flight in loader._flights):  # the ring fills
            loader._listen()
        monkeypatch.setattr(loader, "_listen", lambda: pytest.fail("waited for a worker"))
        next(batches)
        next(loader.epoch(0, 2))


def test_several_batches_can_be_held(images):
    with Loader(images, 8, TRAIN, seed=3, workers=2, hold=2) as loader:
        before, kept = None, None
        for batch in loader.epoch(0):
            if before is not None:
                assert digest(before) == kept  # still intact while the next one is there
            before, kept = batch, digest(batch)


@pytest.mark.parametrize("policy", ("rand", "trivial"))
def test_augmented_and_mixed_batches_do_not_depend_on_the_number_of_workers_or_ranks(images, policy):
    transform = TrainTransform(24, policy=policy, erasing=0.5, mixup=0.4, cutmix=1.0, antialias=True)
    plain = digests(images, epochs=(0,), workers=1)
    first = digests(images, transform, workers=1, tail="wrap")
    assert first[0] != first[1] and first[0] != plain[0]
    assert digests(images, transform, workers=3, tail="wrap") == first
    for rank in range(2):
        mine = digests(images, transform, workers=1, rank=rank, size=2, tail="wrap")[0]
        assert mine[:2] == first[0][rank::2][:2]


def test_soft_labels_tell_what_a_picture_is_made_of(images):
    with Loader(images, 8, TrainTransform(24, cutmix=1.0), seed=3, workers=1) as loader:
        batch = next(loader.epoch(0))
        soft = batch.soft_labels(3)
        assert np.array_equal(batch.partner_labels, batch.labels[::-1]) and (batch.shares < 1).any()
        for k in range(8):
            want = batch.shares[k] * np.eye(3)[batch.labels[k]] + (1 - batch.shares[k]) * np.eye(3)[batch.labels[7 - k]]
            assert np.allclose(soft[k], want)
        assert np.array_equal(tuple(batch)[1], soft) and batch.labels.dtype == np.int32
    with Loader(images, 8, TRAIN, workers=1) as loader:
        batch = next(loader.epoch(0))
        assert batch.shares is None and np.array_equal(batch.soft_labels(3), np.eye(3)[batch.labels])
        assert tuple(batch)[1] is batch.labels


def test_mixing_needs_two_pictures_and_the_number_of_classes(images):
    with pytest.raises(ValueError, match="batch_size=1: mixup and CutMix need 2"):
        Loader(images, 1, TrainTransform(24, mixup=0.2))


def test_the_old_name_of_the_padding_works_and_warns():
    with pytest.warns(DeprecationWarning, match="crop_padding"):
        assert TrainTransform(24, crop="pad", pad=2) == TrainTransform(24, crop="pad", crop_padding=2)


@pytest.mark.parametrize("wrong", (
    dict(policy="auto"), dict(policy_operations=0), dict(policy_magnitude=31), dict(erasing=1.5),
    dict(erasing_scale=(0, 1)), dict(erasing_ratio=(2, 1)), dict(mixup=-1), dict(cutmix=3),
))  # fmt: skip
def test_wrong_augmentations_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong)) + "="):
        TrainTransform(24, **wrong)
