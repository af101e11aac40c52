"""Every flag of the augmentation changes the bytes of a batch, and mixup trains on shares of classes."""

import json

import numpy as np
import pytest
import yaml
from runs import command, metrics

from cellwright.dataloader import TrainTransform
from cellwright.dataloader.batch import BatchMixer
from cellwright.dataloader.sample_writer import SampleWriter
from cellwright.launch.data import open_sources, train_loader
from cellwright.launch.host.mpi_world import World
from cellwright.launch.settings.resolve import read_settings
from cellwright.launch.settings.sections import SECTIONS
from cellwright.launch.settings.transforms import train_transform

# Flag -> its value, and what it needs beside it.
ACTING = {
    "crop": ("pad", ""),
    "crop_scale": ("0.1,0.2", "--crop random_resized"),
    "crop_ratio": ("0.2,0.3", "--crop random_resized"),
    "crop_padding": ("9", "--crop pad"),
    "flip": ("0", ""),
    "jitter": ("0.4,0.4,0.4,0.1", ""),
    "cutout": ("8", ""),
    "cutout_fill": ("255,0,9", "--cutout 8"),
    "antialias": ("True", "--image_size 8"),
    "policy": ("trivial", ""),
    "policy_operations": ("1", "--policy rand"),
    "policy_magnitude": ("25", "--policy rand"),
    "erasing": ("1", ""),
    "erasing_scale": ("0.5,0.6", "--erasing 1"),
    "erasing_ratio": ("3,3.3", "--erasing 1"),
    "mixup": ("0.8", ""),
    "cutmix": ("1", ""),
}


class Noise:
    """16 pictures of noise, of 40 x 30 pixels."""

    records = None

    def __len__(self):
        return 16

    def read(self, sample):
        return np.random.default_rng(sample).integers(0, 256, (40, 30, 3), np.uint8)

    def label(self, sample):
        return sample % 3

    def notes(self, sample):
        return b""


def batch(line):
    """Returns the images of one batch of Noise, as the settings of a command line make it."""
    (resolved,) = read_settings(line.split(), "program")
    transform, ids = train_transform(resolved.recipe), np.arange(16)
    side = transform.image_size
    images, labels, weights = np.zeros((16, side, side, 3), np.uint8), np.zeros(16, np.int32), np.zeros(16, np.float32)
    SampleWriter(Noise(), transform, 1).write(0, ids, images, labels, weights, np.zeros(16, np.int64))
    if transform.mixup or transform.cutmix:
        BatchMixer(transform.mixup, transform.cutmix, 1)(images, labels, ids, 0)
    return images


def test_every_flag_of_the_augmentation_is_tried_here():
    assert set(ACTING) == set(SECTIONS["augmentation"])


@pytest.mark.parametrize("name", ACTING)
def test_a_flag_changes_the_pixels(name):
    value, beside = ACTING[name]
    plain = batch(beside)
    assert np.array_equal(plain, batch(beside))
    assert not np.array_equal(plain, batch(f"{beside} --{name} {value}"))


def test_mixed_images_are_trained_with_shares_of_their_classes():
    (resolved,) = read_settings("--net tinydarknet --mixup 0.2 --num_classes 12 --workers 1".split(), "program")
    training, _ = open_sources(resolved.run)
    with train_loader(training, resolved.recipe, resolved.run, World()) as loader:
        _, labels, _ = next(loader.epoch(0))
    assert labels.dtype == np.float32 and labels.shape == (resolved.recipe.batch_size, 12)
    np.testing.assert_allclose(labels.sum(1), 1, rtol=1e-6)
    assert ((labels > 0).sum(1) == 2).any()


@pytest.mark.slow
def test_a_mixed_run_goes_end_to_end(tmp_path):
    """Alone and on two ranks, smoothed and accumulated, resumed; held-back images are evaluated as they are."""
    run = tmp_path / "run"
    line = ("--run_dir", run, "--net", "tinydarknet", "--batch_size", 16, "--max_steps", 4, "--accumulate", 2)
    line += ("--mixup", 0.2, "--cutmix", 1, "--policy", "rand", "--erasing", 0.25, "--label_smooth_factor", 0.1)
    command("launch.train", *line, ranks=2)
    command("launch.train", "--resume", run, "--max_steps", 6, ranks=2)
    losses = [record["loss"] for record in metrics(run)]
    assert len(losses) == 6 and np.isfinite(losses).all()
    assert json.loads((run / "eval.json").read_text())["total"] == 1000
    config = yaml.safe_load((run / "config.yaml").read_text())["recipe"]
    assert (config["mixup"], config["cutmix"], config["policy"], config["crop_padding"]) == (0.2, 1.0, "rand", 4)


@pytest.mark.parametrize("name", ["crop_scale", "crop_ratio", "erasing_scale", "erasing_ratio"])
def test_one_number_in_the_place_of_two_is_named(name):
    with pytest.raises(ValueError, match=rf"{name}=\(0.5,\): allowed is two numbers"):
        TrainTransform(**{name: (0.5,)})
