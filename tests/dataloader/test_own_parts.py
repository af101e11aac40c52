"""Sources and transforms of one's own, and batches for PyTorch."""

import importlib.util
import sys
import types

import numpy as np
import own_parts
import pytest
from loader_cases import digest

from cellwright.dataloader import EvalTransform, ImageFolder, Loader, TorchBatches, TrainTransform


@pytest.fixture(autouse=True)
def workers_find_this_folder(monkeypatch):
    """A forkserver of its own, as a script in this folder would start one."""
    from cellwright.dataloader.workers import forkserver

    monkeypatch.setattr(forkserver, "_forkserver", None)
    monkeypatch.syspath_prepend(own_parts.__file__.rpartition("/")[0])
    yield
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
    for custom in (own_parts.add_noise, own_parts.invert_some):
        transform = TrainTransform(16, custom=custom)
        first = digests(source, transform, 1)
        assert first == digests(source, transform, 3) and first != digests(source, TrainTransform(16), 1)
    with Loader(source, 4, EvalTransform(16, custom=own_parts.invert_some), seed=3, workers=1) as loader:
        inverted = [image.mean() > 127 for batch in loader.epoch(0) for image in batch.images]
    assert 3 < sum(inverted) < 17
    with pytest.raises(TypeError, match="has to stand in a module of its own"):
        TrainTransform(16, custom=lambda image, random: None)
    with pytest.raises(ValueError, match="custom=5"):
        TrainTransform(16, custom=5)


def test_batches_for_torch_share_the_loader_s_memory(folder, monkeypatch):
    class Tensor(np.ndarray):
        def long(self):
            return self.astype(np.int64)

    if importlib.util.find_spec("torch") is None:
        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(from_numpy=lambda array: array.view(Tensor)))
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
