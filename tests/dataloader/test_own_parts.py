"""Sources and transforms of one's own, and batches for PyTorch."""

import collections.abc
import importlib.util
import sys
import types

import numpy as np
import own_parts
import pytest
from loader_cases import digest

from cellwright.dataloader import (
    Boxes,
    EvalTransform,
    ImageFolder,
    Loader,
    Mask,
    Numbers,
    Picture,
    TorchBatches,
    TrainTransform,
)
from cellwright.dataloader.fields import Geometry
from cellwright.dataloader.ledger import digest as ledger_digest


@pytest.fixture(autouse=True, scope="module")
def workers_find_this_folder():
    """A forkserver of its own, as a script in this folder would start one."""
    from cellwright.dataloader.workers import forkserver

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forkserver, "_forkserver", None)
        patch.syspath_prepend(own_parts.__file__.rpartition("/")[0])
        yield
        if forkserver._forkserver is not None:
            forkserver._forkserver.close()


def digests(source, transform, workers):
    with Loader(source, 4, transform, seed=3, workers=workers) as loader:
        return [digest(batch) for epoch in range(2) for batch in loader.epoch(epoch)]


def test_an_object_with_three_methods_is_a_source():
    source = own_parts.Stripes()
    with Loader(source, 4, EvalTransform(16, "direct"), workers=2) as loader:
        batches = [(batch.labels.copy(), batch.images.max((1, 2, 3))) for batch in loader.epoch(0)]
    labels, tops = (np.concatenate(parts) for parts in zip(*batches))
    assert np.array_equal(labels, np.arange(20) % 4) and (np.diff(tops.astype(int)) > 0).all()
    with pytest.raises(TypeError, match="list is no source of samples: it has no read, label"):
        Loader([1, 2], 1, EvalTransform(16))


def test_a_transform_of_ones_own_has_the_sample_s_own_numbers():
    source = own_parts.Stripes()
    plain = digests(source, TrainTransform(16), 1)
    for custom in (own_parts.add_noise, own_parts.invert_some):
        transform = TrainTransform(16, custom=custom)
        first = digests(source, transform, 1)
        assert first == digests(source, transform, 3) and first != plain
    with Loader(source, 4, EvalTransform(16, custom=own_parts.invert_some), seed=3, workers=1) as loader:
        inverted = [image.mean() > 127 for batch in loader.epoch(0) for image in batch.images]
    assert 3 < sum(inverted) < 17
    with pytest.raises(TypeError, match="has to stand in a module of its own"):
        TrainTransform(16, custom=lambda image, random: None)
    with pytest.raises(ValueError, match="custom=5"):
        TrainTransform(16, custom=5)


FIELDS = (
    Mask(),
    Boxes(2, columns=1),
    Picture("pair"),
    Picture("view", of="image", own_draws=True),
    Numbers("target", (2,)),
)


@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
def test_fields_are_cut_and_mirrored_as_the_picture_is(crop):
    """At the picture's own size nothing is interpolated: mask and pair say the same as the picture, pixel for pixel."""
    whole = {"crop_scale": (1, 1), "crop_ratio": (1, 1)} if crop == "random_resized" else {}
    transform = TrainTransform(48, crop=crop, **whole, fields=FIELDS)
    seen = 0
    with Loader(own_parts.Marked(), 4, transform, seed=3, workers=2) as loader:
        for batch in loader.epoch(0):
            images, labels, weights, fields = batch
            assert [fields[f.name].shape for f in FIELDS] == [
                (4, 48, 48),
                (4, 2, 6),
                (4, 48, 48, 3),
                (4, 48, 48, 3),
                (4, 2),
            ]
            np.testing.assert_array_equal(fields["target"], np.stack([batch.ids, batch.ids / 2], 1).astype(np.float32))
            for n in np.flatnonzero(batch.ids % 2):
                border = images[n].any(-1)  # "pad" draws zeros beyond it, of the pair too
                assert np.array_equal(fields["mask"][n], images[n][:, :, 0])
                assert np.array_equal(fields["pair"][n][border], 255 - images[n][border])
                x0, y0, x1, y1, k, there = fields["boxes"][n, 0]
                white = np.argwhere((images[n] == 255).all(-1))
                assert there and k == batch.ids[n] and not fields["boxes"][n, 1].any()
                assert [y0, x0] == white.min(0).tolist() and [y1, x1] == (white.max(0) + 1).tolist()
                seen += not np.array_equal(fields["view"][n], images[n])
    assert seen or crop == "none"


def test_boxes_follow_a_resize_and_lose_what_is_cut_away():
    box = Boxes(3, least=0.5)
    picture = types.SimpleNamespace(height=100, width=200)
    out = np.ones((3, 5), np.float32)
    boxes = [[60, 20, 80, 40], [0, 0, 50, 100], [130, 20, 170, 40]]
    box.write(boxes, picture, Geometry(0, 50, 100, 100, False, 50), out)
    assert out.tolist() == [[5, 10, 15, 20, 1], [40, 10, 50, 20, 1], [0, 0, 0, 0, 0]]  # half of the last one is left
    box.write(boxes, picture, Geometry(0, 50, 100, 100, True, 50), out)
    assert out.tolist()[0] == [35, 10, 45, 20, 1]
    with pytest.raises(ValueError, match="4 boxes, and most=3"):
        box.write(np.zeros((4, 4)), picture, Geometry(0, 0, 100, 200, False, 50), out)


def test_fields_do_not_depend_on_the_number_of_workers():
    transform = TrainTransform(24, jitter=(0.4, 0.4, 0.4), erasing=0.5, custom=own_parts.add_noise, fields=FIELDS)
    found = []
    for workers in (1, 3):
        with Loader(own_parts.Marked(), 4, transform, seed=3, workers=workers) as loader:
            found.append([ledger_digest(batch) for epoch in range(2) for batch in loader.epoch(epoch)])
    assert found[0] == found[1] and len(set(found[0])) == 6
    with Loader(own_parts.Marked(), 5, EvalTransform(24, fields=FIELDS), workers=2) as loader:
        (*_, last) = loader.epoch(0)  # 12 samples: the last batch has three padded places
        assert last.weights.tolist() == [1, 1, 0, 0, 0] and not any(part[2:].any() for part in last.fields.values())
        assert np.array_equal(last.fields["view"], last.images)


def test_what_does_not_fit_is_named():
    with Loader(own_parts.Unmarked(), 4, EvalTransform(24, fields=(Mask(),)), workers=1) as loader:
        with pytest.raises(RuntimeError, match=r"sample 5: field 'mask': shape \(47, 48\) for a picture of \(48, 48\)"):
            list(loader.epoch(0))
    with Loader(own_parts.Stripes(), 4, EvalTransform(24, fields=(Mask(),)), workers=1) as loader:
        with pytest.raises(RuntimeError, match="sample 0: field 'mask': read\\(k\\) gives no such value"):
            list(loader.epoch(0))
    with pytest.raises(ValueError, match="'mask' is there twice"):
        TrainTransform(24, fields=(Mask(), Mask()))
    with pytest.raises(TypeError, match="'mask' is none of Mask, Boxes"):
        TrainTransform(24, fields=("mask",))
    with pytest.raises(ValueError, match="mixup and CutMix mix pictures and labels"):
        TrainTransform(24, mixup=0.2, fields=(Mask(),))
    with pytest.raises(ValueError, match="policy='rand' shears"):
        TrainTransform(24, policy="rand", fields=(Boxes(3),))


class LikeTorch(np.ndarray):
    """What batches for torch need of a torch.Tensor."""

    def long(self):
        return self.astype(np.int64)

    def pin_memory(self):
        pinned = self.copy()
        pinned.is_pinned = True
        return pinned


def like_torch(cuda):
    """What batches for torch need of torch."""
    parts = {"Tensor": LikeTorch, "clone": np.copy, "from_numpy": lambda array: array.view(LikeTorch)}
    data = types.SimpleNamespace(IterableDataset=collections.abc.Iterable)
    places = {"cuda": types.SimpleNamespace(is_available=lambda: cuda), "utils": types.SimpleNamespace(data=data)}
    return types.SimpleNamespace(**parts, **places)


@pytest.mark.parametrize("cuda", [False, True])
def test_batches_are_copied_into_pinned_memory_where_cuda_is(cuda, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", like_torch(cuda))
    with Loader(own_parts.Marked(), 4, EvalTransform(24, fields=FIELDS), workers=1) as loader:
        found, kept = list(TorchBatches(loader, pin_memory=True)), []
        for batch in loader.epoch(0):
            kept.append([*(part.copy() for part in tuple(batch)[:3]), {k: v.copy() for k, v in batch.fields.items()}])
    for (*parts, fields), (*expected, their) in zip(found, kept):  # all stay valid, to the end of the epoch and longer
        for part, value in zip([*parts, *fields.values()], [*expected, *their.values()]):
            assert np.array_equal(part, value) and getattr(part, "is_pinned", False) == cuda


def test_batches_for_torch_share_the_loader_s_memory(folder, monkeypatch):
    if importlib.util.find_spec("torch") is None:
        monkeypatch.setitem(sys.modules, "torch", like_torch(cuda=False))
    with Loader(ImageFolder(folder), 8, TrainTransform(24), seed=3, workers=1) as loader:
        batches = TorchBatches(loader)
        assert len(batches) == len(loader) == 4
        found = []
        for _ in range(2):
            for images, labels, _ in batches:
                assert np.shares_memory(np.asarray(images), loader._ring.images)
                assert labels.shape == (8,) and np.asarray(labels).dtype == np.int64
                found.append(np.asarray(images).sum())
        batches.set_epoch(0)
        assert [np.asarray(images).sum() for images, _, _ in batches] == found[:4]
        assert len(found) == 8
