"""Images per second of the data loader, beside mindspore.dataset and others doing the same work in the same run.

The pictures are synthetic, or with --photographs cut from real ones; bytes per picture and per pixel are in the
report, for they decide how long decoding takes. Rounds go in turn over all cases.

    python -m launch.bench loader --photographs --peers all [--peer_python PYTHON]
"""

import contextlib
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellwright.dataloader import Cifar10, ImageFolder, Loader, Pack, TrainTransform, start_forkserver
from cellwright.launch.bench.loader_peers import PEERS, Peer, processor_seconds, there
from cellwright.launch.bench.peers.loaders.work import Work
from cellwright.launch.bench.pictures.corpus import write_pictures
from cellwright.launch.bench.pictures.photographs import check_photographs, photographs
from cellwright.launch.bench.step import chosen
from cellwright.launch.pack import main as pack
from cellwright.launch.settings.flag_parser import setting

OUTPUTS = ("float32", "uint8")
JITTER = (0.4, 0.4, 0.4, 0.0)


@dataclass(frozen=True)
class Settings:
    """What is measured, how often and how long."""

    workers: int = setting(2, "processes of each loader")
    pictures: int = setting(400, "files of the data set")
    kilobytes: int = setting(95, "size of a synthetic picture's file")
    batch_size: int = setting(64, "images of a batch")
    seconds: float = setting(1.5, "how long a turn lasts at least")
    rounds: int = setting(3, "turns of each case")
    peers: str = setting("mindspore", f"all, none, or comma-separated of {', '.join(PEERS)}")
    peer_python: str = setting("", "Python interpreter that has them, but for mindspore; default: this one")
    output: str = setting("all", f"all, or comma-separated of {', '.join(OUTPUTS)}")
    photographs: bool = setting(False, "cut the pictures from photographs, and do not draw them")
    augmentations: bool = setting(False, "measure each augmentation of ours too")

    def __post_init__(self):
        if self.photographs:
            check_photographs()
        for name in ("workers", "pictures", "kilobytes", "batch_size", "seconds", "rounds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"--{name} {getattr(self, name)}: must be more than 0")
        for name, known in (("peers", (*PEERS, "none")), ("output", OUTPUTS)):
            for value in chosen(getattr(self, name), known):
                if value not in known:
                    raise ValueError(f"--{name} {value!r}: known are {', '.join(known)}")
        if self.pictures < 2 * self.batch_size:
            raise ValueError(f"--pictures {self.pictures}: at least two batches of {self.batch_size} are needed")


def write_records(folder, count=50000):
    """Writes random CIFAR-10 records."""
    records = np.random.default_rng(6).integers(0, 256, (count, 3073), dtype=np.uint8)
    records[:, 0] %= 10
    (folder / "cifar-10-batches-bin").mkdir(parents=True)
    records.tofile(folder / "cifar-10-batches-bin" / "data_batch_1.bin")
    return folder


def rate(epochs, count_of, seconds, pids=()):
    """(images a second, milliseconds of processor time an image) of the iterators that `epochs` yields, over at least
    `seconds` after one epoch to warm up. pids: processes whose time counts beside this one's.
    """
    for batch in next(epochs):
        count_of(batch)
    images, began, taken = 0, time.perf_counter(), time.process_time() + processor_seconds(pids)
    while time.perf_counter() - began < seconds:
        for batch in next(epochs):
            images += count_of(batch)
    taken = time.process_time() + processor_seconds(pids) - taken
    return images / (time.perf_counter() - began), 1000 * taken / images


def own_rate(source, transform, settings, workers=None, floats=True):
    """What `rate` gives of this project's loader."""
    output = {"output": "float32", "normalise": (Work.mean, Work.std)} if floats else {}
    with Loader(source, settings.batch_size, transform, workers=workers or settings.workers, **output) as loader:
        return rate((loader.epoch(e) for e in range(10**9)), len, settings.seconds, loader.pids)


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


def own_cases(folder, settings):
    """{name: (output, function that measures once)} of this project's loader."""
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
        packs[f"pack {name}"] = Pack(out)
    cifar = Cifar10(write_records(folder / "cifar"))
    small = TrainTransform(32, crop="pad")
    found = {
        "folder": ("float32", images, plain, {}),
        "folder, 1 worker": ("float32", images, plain, {"workers": 1}),
        "folder, uint8": ("uint8", images, plain, {}),
        "folder, jitter": ("float32", images, jitter, {}),
        **{name: ("float32", source, plain, {}) for name, source in packs.items()},
        "pack raw 256, uint8": ("uint8", packs["pack raw 256"], plain, {}),
        "cifar-10, 1 worker": ("uint8", cifar, small, {"workers": 1}),
    }

    def measured(output, source, transform, more):
        return lambda: own_rate(source, transform, settings, floats=output == "float32", **more)

    return {name: (case[0], measured(*case)) for name, case in found.items()}


def peer_cases(folder, settings, closing):
    """The same of the others, as far as they are there; `closing`, an ExitStack, ends their processes."""
    found = {}
    for name in chosen(settings.peers, PEERS):
        interpreter = settings.peer_python if settings.peer_python and name != "mindspore" else sys.executable
        if name == "none" or not there(name, interpreter):
            continue
        title = PEERS[name][0]
        named = {title: ("float32", False), f"{title}, uint8": ("uint8", False)}
        if name == "mindspore":
            named[f"{title}, jitter"] = ("float32", True)
        for case, (output, jitter) in named.items():
            peer = Peer(name, interpreter, folder / "images", settings, output, jitter)
            closing.callback(peer.close)
            found[case] = output, peer.rate
    return found


def cases(folder, settings, closing):
    """{name: function that measures once}."""
    if settings.augmentations:
        return augmentation_cases(ImageFolder(folder / "images"), settings)
    outputs = chosen(settings.output, OUTPUTS)
    found = own_cases(folder, settings) | peer_cases(folder, settings, closing)
    return {name: run for name, (output, run) in found.items() if output in outputs}


def ratios(medians):
    """What the figures are worth beside one another."""
    if "folder, uint8, mixup" in medians:
        plain = medians["folder, uint8"]
        return {f"{name} over plain": medians[f"folder, uint8, {name}"] / plain for name in AUGMENTATIONS}
    over = [("folder", "folder, 1 worker"), ("folder, jitter", "mindspore.dataset, jitter")]
    for peer, _ in PEERS.values():
        for kind in ("", ", uint8"):
            if peer == "FFCV raw":
                over.append((f"pack raw 256{kind}", f"{peer}{kind}"))
            else:
                over.append((f"folder{kind}", f"{peer}{kind}"))
    over += [(f"pack {name}", "mindspore.dataset") for name in ("lossless", "short 256", "raw 256")]
    return {
        f"{name} over {other}": medians[name] / medians[other]
        for name, other in over
        if name in medians and other in medians
    }


def measure(settings):
    """Measures all cases in turn, `rounds` times, and reports the medians."""
    start_forkserver()
    bases = photographs() if settings.photographs else None
    kind = "photographs" if settings.photographs else "synthetic pictures"
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as name, contextlib.ExitStack() as closing:
        folder = Path(name)
        size, density, quality = write_pictures(folder / "images", settings.pictures, settings.kilobytes, bases)
        found = cases(folder, settings, closing)
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
