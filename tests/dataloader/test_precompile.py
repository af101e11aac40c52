"""Nothing is compiled in a worker: whatever a worker calls has been compiled, for its very types, before the fork."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import importlib, pkgutil, sys
sys.path.insert(0, {root!r})
import numpy as np
from cellwright.kernels import image
from cellwright.dataloader import Cifar10, EvalTransform, ImageFolder, Pack, TrainTransform
from cellwright.dataloader.sample_writer import SampleWriter
from cellwright.dataloader.precompile import precompile
from cellwright.launch.pack import main

folder, cifar, work = sys.argv[1:]
def pack(name, *flags):
    assert main(["--data_path", folder, "--out", f"{{work}}/{{name}}", "--workers", "1", *flags]) == 0

pack("jpeg", "--short_side", "200")
pack("raw", "--short_side", "200", "--format", "raw")
pack("lossless")

def compiled():
    return {{
        (module.__name__, name): len(thing.signatures)
        for info in pkgutil.iter_modules(image.__path__) if not info.ispkg
        for module in [importlib.import_module("cellwright.kernels.image." + info.name)]
        for name, thing in vars(module).items() if hasattr(thing, "signatures")
    }}

precompile()
before = compiled()
sources = [ImageFolder(folder), Cifar10(cifar), *(Pack(f"{{work}}/{{name}}") for name in ("jpeg", "raw", "lossless"))]
for source in sources:
    source.prepare()
    for side in (24, 32, 40):
        for transform in (
            TrainTransform(side), TrainTransform(side, crop_scale=(0.05, 0.1)),
            TrainTransform(side, crop="pad", jitter=(0.1, 0.1, 0.1, 0.1)), TrainTransform(side, crop="pad"),
            TrainTransform(side, cutout=5, antialias=True), TrainTransform(side, policy="rand", erasing=0.5),
            TrainTransform(side, policy="trivial"),
            EvalTransform(side), EvalTransform(side, "direct"), EvalTransform(side, "squash", antialias=True),
        ):
            for normalise in (None, ((0, 0, 0), (1, 1, 1))):
                shape, kind = ((8, side, side, 3), np.uint8) if normalise is None else ((8, 3, side, side), np.float32)
                writer = SampleWriter(source, transform, 1, normalise)
                labels, weights, row = np.zeros(8, np.int32), np.zeros(8, np.float32), np.zeros(8, np.int64)
                writer.write(0, np.arange(8), np.zeros(shape, kind), labels, weights, row)
after = compiled()
assert len(before) > 25
print({{name: (before[name], after[name]) for name in after if after[name] != before[name]}})
"""


def test_no_kernel_is_compiled_after_precompile(folder, cifar, tmp_path):
    command = [sys.executable, "-c", SCRIPT.format(root=str(ROOT)), str(folder), str(cifar), str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert out.stdout.strip() == "{}", out.stdout + out.stderr[-3000:]
