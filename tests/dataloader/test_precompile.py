"""Nothing is compiled in a worker: whatever a worker calls has been compiled, for its very types, before the fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cellwright.launch.pack import main as pack

ROOT = Path(__file__).resolve().parents[2]

# Each way in a process of its own, which has compiled nothing before it.
EVERY_WAY = """
import importlib, os, pickle, pkgutil, sys
import numpy as np
from cellwright.kernels import image
from cellwright.dataloader import Cifar10, EvalTransform, ImageFolder, Pack, TrainTransform
from cellwright.dataloader.decode import picture
from cellwright.dataloader.sample_writer import SampleWriter
from cellwright.dataloader.precompile import main, precompile

picture._LEAST_SAVED = 0  # parts are decoded however little that wins
folder, cifar, work = sys.argv[1:]
kernels = [
    thing for info in pkgutil.iter_modules(image.__path__)
    for thing in vars(importlib.import_module("cellwright.kernels.image." + info.name)).values()
    if hasattr(thing, "signatures")
]

def compiled():
    return {(thing.__qualname__, str(signature)) for thing in kernels for signature in thing.signatures}

def check(source, transform, normalise):
    for _ in precompile(source, transform, normalise):
        pass
    before = compiled()
    side = transform.image_size
    shape, kind = ((16, side, side, 3), np.uint8) if normalise is None else ((16, 3, side, side), np.float32)
    writer = SampleWriter(source, transform, 1, normalise)
    labels, weights, row = np.zeros(16, np.int32), np.zeros(16, np.float32), np.zeros(8, np.int64)
    for epoch in range(2):
        writer.write(epoch, np.arange(16), np.zeros(shape, kind), labels, weights, row)
    return compiled() - before, before - everything

def in_a_child(function):
    child = os.fork()
    if not child:
        function()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0

def compile_everything():
    main()
    with open(f"{work}/everything", "wb") as file:
        pickle.dump(compiled(), file)

assert len(kernels) > 25 and not compiled()
in_a_child(compile_everything)
with open(f"{work}/everything", "rb") as file:
    everything = pickle.load(file)
sources = [ImageFolder(folder), Cifar10(cifar), *(Pack(f"{work}/{name}") for name in ("raw", "lossless"))]
transforms = [
    TrainTransform(24), TrainTransform(32, crop="pad"), TrainTransform(24, crop="none", antialias=True),
    TrainTransform(40, crop="pad", jitter=(0.1, 0.1, 0.1, 0.1), cutout=5),
    TrainTransform(24, policy="rand", erasing=0.5, antialias=True), TrainTransform(24, policy="trivial"),
    EvalTransform(24), EvalTransform(32, "direct"), EvalTransform(24, "squash", antialias=True),
]
for s, source in enumerate(sources):
    source.prepare()
    for t, transform in enumerate(transforms):
        normalise = ((0, 0, 0), (1, 1, 1)) if (s + t) % 2 else None
        def one():
            late, forgotten = check(source, transform, normalise)
            if late or forgotten:
                print(type(source).__name__, transform, normalise, "late:", late, "not in main:", forgotten, flush=True)
        in_a_child(one)
"""


@pytest.fixture(scope="module")
def packs(folder, tmp_path_factory):
    work = tmp_path_factory.mktemp("packs")
    raw = ("--short_side", "200", "--format", "raw")
    for name, flags in (("raw", raw), ("lossless", ())):
        assert pack(["--data_path", str(folder), "--out", str(work / name), "--workers", "1", *flags]) == 0
    return work


def run(script, *arguments, **environment):
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{script}", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def test_no_kernel_is_compiled_after_precompile_and_all_at_the_installation(folder, cifar, packs):
    process = run(EVERY_WAY, folder, cifar, packs)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0 and out == "", out + err[-3000:]


OWN_KERNELS = """
import time, numba
from cellwright.dataloader import compiling
compiling.TOLD_AFTER_S = 0.0
import three_kernels
with compiling.compiling(sys.argv[1]):
    for kernel in (three_kernels.one, three_kernels.two, three_kernels.three):
        kernel(1.0)
        time.sleep(0.2)
        print(sum(kernel.stats.cache_misses.values()))
"""
THREE_KERNELS = "import numba\n" + "".join(
    f"@numba.njit(cache=True)\ndef {name}(x):\n    return x + {k}\n" for k, name in enumerate(("one", "two", "three"))
)


def test_one_process_of_many_compiles_and_says_so(tmp_path):
    (tmp_path / "three_kernels.py").write_text(THREE_KERNELS)
    paths = os.pathsep.join((str(tmp_path), str(ROOT)))
    settings = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": paths}
    processes = [run(OWN_KERNELS, tmp_path, **settings) for _ in range(3)]
    ends = [process.communicate(timeout=60) for process in processes]
    assert all(process.returncode == 0 for process in processes), ends
    misses = sorted(sum(map(int, out.split())) for out, _ in ends)
    assert max(misses[:2]) <= 1 and misses[2] == 3  # who waited for the lock compiles what it was about to
    lines = "".join(err for _, err in ends).splitlines()
    assert lines[0] == "dataloader: compiling its kernels for this machine, once"
    assert lines[1].startswith("dataloader: compiled them in ") and len(lines) == 2


ONE_LOADER = """
from cellwright.dataloader import Cifar10, Loader, TrainTransform
with Loader(Cifar10(sys.argv[1]), 4, TrainTransform(32, crop="pad"), workers=1) as loader:
    next(iter(loader.epoch(0)))
"""


def test_a_loader_does_not_wait_for_kernels_that_it_does_not_use(cifar, tmp_path):
    process = run(ONE_LOADER, cifar, NUMBA_CACHE_DIR=str(tmp_path))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    kept = {path.name.split(".")[0] for path in tmp_path.rglob("*.nbi")}
    assert "records" in kept and not kept & {"jpeg_decode", "policy", "jitter", "resample"}
