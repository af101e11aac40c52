"""Images per second of the data loader, beside mindspore.dataset doing the same work in the same run.

The pictures are synthetic, or with --photographs cut from real ones; bytes per picture and per pixel are in the
report, for they decide how long decoding takes.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellwright.dataloader import Cifar10, ImageFolder, Loader, Pack, TrainTransform, start_forkserver
from cellwright.launch.bench.pictures.corpus import write_pictures
from cellwright.launch.bench.pictures.photographs import photographs
from cellwright.launch.pack import main as pack

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
JITTER = (0.4, 0.4, 0.4, 0.0)


@dataclass(frozen=True)
class Settings:
    """What is measured, how often and how long."""

    workers: int = 2
    pictures: int = 400
    kilobytes: int = 95
    batch_size: int = 64
    seconds: float = 1.5
    rounds: int = 3
    peer: bool = True
    photographs: bool = False
    augmentations: bool = False

    def __post_init__(self):
        for name in ("workers", "pictures", "kilobytes", "batch_size", "seconds", "rounds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name} {getattr(self, name)}: must be more than 0")
        if self.pictures < 2 * self.batch_size:
            raise ValueError(f"--pictures {self.pictures}: at least two batches of {self.batch_size} are needed")


def write_records(folder, count=50000):
    """Writes random CIFAR-10 records."""
    records = np.random.default_rng(6).integers(0, 256, (count, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    records.tofile(folder / "cifar-10-batches-bin" / "data_batch_1.bin")
    return folder


def processor_seconds(pids=()):
    """Seconds of processor time that this process and the processes `pids` have taken so far."""
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat") as stat:
            ticks += sum(map(int, stat.read().rpartition(")")[2].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def rate(epochs, count_of, seconds, pids=()):
    """(images a second, milliseconds of processor time an image) of the iterators that `epochs` yields, over at least
    `seconds` after one epoch to warm up. pids: processes whose time counts beside this one's.
    """
    for batch in next(epochs):
        count_of(batch)
    images, began, taken = 0, time.perf_counter(), processor_seconds(pids)
    while time.perf_counter() - began < seconds:
        for batch in next(epochs):
            images += count_of(batch)
    taken = processor_seconds(pids) - taken
    return images / (time.perf_counter() - began), 1000 * taken / images


def own_rate(source, transform, settings, workers=None, floats=True):
    """What `rate` gives of this project's loader."""
    output = {"output": "float32", "normalise": (MEAN, STD)} if floats else {}
    with Loader(source, settings.batch_size, transform, workers=workers or settings.workers, **output) as loader:
        return rate((loader.epoch(e) for e in range(10**9)), len, settings.seconds, loader.pids)


def peer_rate(folder, jitter, settings, floats=True):
    """What `rate` gives of mindspore.dataset with the operations that the originals of the networks use."""
    import mindspore.dataset as ds
    from mindspore.dataset import vision

    data = ds.ImageFolderDataset(str(folder), num_parallel_workers=settings.workers, shuffle=True)
    steps = [
        vision.RandomCropDecodeResize(224, (0.08, 1.0), (3 / 4, 4 / 3)),
        vision.RandomHorizontalFlip(0.5),
    ]
    if jitter:
        steps.append(vision.RandomColorAdjust(0.4, 0.4, 0.4))
    if floats:
        steps += [vision.Normalize(MEAN, STD), vision.HWC2CHW()]
    data = data.map(steps, "image", num_parallel_workers=settings.workers)
    data = data.batch(settings.batch_size, drop_remainder=True)
    iterator = data.create_dict_iterator(num_epochs=-1, output_numpy=True)
    try:
        return rate((iter(iterator) for _ in range(10**9)), lambda batch: len(batch["image"]), settings.seconds)
    finally:
        iterator.stop() if hasattr(iterator, "stop") else None


AUGMENTATIONS = {
    "RandAugment": {"policy": "rand"},
    "TrivialAugment": {"policy": "trivial"},
    "random erasing": {"erasing": 1.0},
    "mixup": {"mixup": 0.2},
    "CutMix": {"cutmix": 1.0},
    "antialias": {"antialias": True},
    "jitter": {"jitter": JITTER},
}


def augmentation_cases(images, settings):
    """{name: function that measures once} of the folder's plain way, and of it with one augmentation each."""
    found = {"folder, uint8": {}, **{f"folder, uint8, {name}": change for name, change in AUGMENTATIONS.items()}}
    return {
        name: lambda change=change: own_rate(images, TrainTransform(224, **change), settings, floats=False)
        for name, change in found.items()
    }


def cases(folder, settings):
    """{name: function that measures once}."""
    if settings.augmentations:
        return augmentation_cases(ImageFolder(folder / "images"), settings)
    plain, jitter = TrainTransform(224), TrainTransform(224, jitter=JITTER)
    images = ImageFolder(folder / "images")
    packs = {}
    for name, flags in (
        ("lossless", ()),
        ("short 256", ("--short_side", "256")),
        ("raw 256", ("--short_side", "256", "--format", "raw")),
    ):
        out = folder / f"{name.replace(' ', '')}.pack"
        if pack(["--data_path", str(folder / "images"), "--out", str(out), *flags]):
            raise RuntimeError(f"packing {name} failed")
        packs[name] = Pack(out)
    cifar = Cifar10(write_records(folder / "cifar"))
    small = TrainTransform(32, crop="pad")
    found = {
        "folder": lambda: own_rate(images, plain, settings),
        "folder, 1 worker": lambda: own_rate(images, plain, settings, workers=1),
        "folder, uint8": lambda: own_rate(images, plain, settings, floats=False),
        "folder, jitter": lambda: own_rate(images, jitter, settings),
        **{f"pack {name}": lambda source=source: own_rate(source, plain, settings) for name, source in packs.items()},
        "cifar-10, 1 worker": lambda: own_rate(cifar, small, settings, workers=1, floats=False),
    }
    if settings.peer:
        found["mindspore.dataset"] = lambda: peer_rate(folder / "images", False, settings)
        found["mindspore.dataset, jitter"] = lambda: peer_rate(folder / "images", True, settings)
        found["mindspore.dataset, uint8"] = lambda: peer_rate(folder / "images", False, settings, floats=False)
    return found


def ratios(medians):
    """What the figures are worth beside one another."""
    if "folder" not in medians:
        plain = medians["folder, uint8"]
        return {f"{name} over plain": medians[f"folder, uint8, {name}"] / plain for name in AUGMENTATIONS}
    found = {"folder, 2 workers over 1": medians["folder"] / medians["folder, 1 worker"]}
    peer = medians.get("mindspore.dataset")
    if peer:
        names = ("folder", "pack lossless", "pack short 256", "pack raw 256")
        found.update({f"{name} over mindspore.dataset": medians[name] / peer for name in names})
        found["folder over mindspore.dataset, uint8"] = medians["folder, uint8"] / medians["mindspore.dataset, uint8"]
        found["folder over mindspore.dataset, jitter"] = (
            medians["folder, jitter"] / medians["mindspore.dataset, jitter"]
        )
    return found


def measure(settings):
    """Measures all cases in turn, `rounds` times, and reports the medians."""
    start_forkserver()
    bases = photographs() if settings.photographs else None
    kind = "photographs" if settings.photographs else "synthetic pictures"
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as name:
        folder = Path(name)
        size, density, quality = write_pictures(folder / "images", settings.pictures, settings.kilobytes, bases)
        found = cases(folder, settings)
        rates, times = {name: [] for name in found}, {name: [] for name in found}
        for _ in range(settings.rounds):
            for case, run in found.items():
                speed, taken = run()
                rates[case].append(speed)
                times[case].append(taken)
    medians = {case: statistics.median(values) for case, values in rates.items()}
    results = [
        {"name": kind, "value": size / 1024, "unit": "KiB each"},
        {"name": f"{kind}, bytes per pixel", "value": density, "unit": "B"},
        {"name": f"{kind}, JPEG quality", "value": quality, "unit": ""},
    ]
    for case, values in rates.items():
        results.append({"name": case, "value": medians[case], "unit": "img/s", "rounds": values})
    for case, values in times.items():
        results.append({"name": f"{case}, processor", "value": statistics.median(values), "unit": "ms an image"})
    return {"results": results, "ratios": ratios(medians)}
