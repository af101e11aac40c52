"""MindCV's networks as they are: what share of them programs run, with which numbers, how fast, in how much memory.

    python -m launch.bench zoo [--nets resnet18,mobilenet_v2_100] [--torch /path/to/python] [--json FILE]

MindCV comes with the extra `zoo`. Each variant is a process of its own, in turn, round after round: `ours`, and stock
MindSpore with oneDNN's AVX2 kernels (`stock`) and with all that the machine has (`stock-all`), of which the quicker one
counts; PyTorch channels_last of the same network where the interpreter of --torch has timm or torchvision with it. A
step is forward, loss and all gradients. Numbers are compared between `ours` and `stock`, and, as a measure of what
rounding does, between `stock-all` and `stock`; for that dropout is off. With --torch, MindCV's source runs on PyTorch
in float64 too (`float64`), and each is compared with that. --draws batches of images tell more than one: where rounding
lets an activation fall on the other side of its kink, gradients are a thousand times as far off as where it does not.
The roof is what the cores multiply and add at most, measured by `ours`; a training step counts as three evaluations.
"""

import importlib.util
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cellwright.launch.bench import own_process
from cellwright.launch.bench.peers.mindcv_peer import SAMPLES
from cellwright.launch.bench.step import chosen
from cellwright.launch.settings.flag_parser import setting

# MindCV's name -> the name of the same network in timm, or (after a colon) in torchvision
NETS = {
    "resnet18": "resnet18",
    "resnet50": "resnet50",
    "resnext50_32x4d": "resnext50_32x4d",
    "seresnet18": "seresnet18",
    "seresnet50": "seresnet50",
    "res2net50": "res2net50_26w_4s",
    "regnet_x_800mf": "regnetx_008",
    "regnet_y_800mf": "regnety_008",
    "densenet121": "densenet121",
    "vgg16": "vgg16",
    "googlenet": ":googlenet",
    "inception_v3": "inception_v3",
    "squeezenet1_0": ":squeezenet1_0",
    "mobilenet_v1_100": "mobilenetv1_100",
    "mobilenet_v2_100": "mobilenetv2_100",
    "mobilenet_v3_large_100": "mobilenetv3_large_100",
    "mnasnet_100": "mnasnet_100",
    "ghostnet_100": "ghostnet_100",
    "shufflenet_v1_g3_10": "",
    "shufflenet_v2_x1_0": ":shufflenet_v2_x1_0",
    "efficientnet_b0": "efficientnet_b0",
    "rexnet_10": "rexnet_100",
    "repvgg_a0": "repvgg_a0",
    "skresnet50": "skresnet50",
    "dpn92": "dpn92",
    "hrnet_w32": "hrnet_w32",
    "xception": "legacy_xception",
    "convnext_tiny": "convnext_tiny",
    "poolformer_s12": "poolformer_s12",
}
LEAST_SIZE = {"vgg16": 224, "inception_v3": 299}  # dense layers are made for this
STOCK = ("stock", "stock-all")
VARIANTS = ("ours", *STOCK, "torch", "float64")
_PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    nets: str = setting("all", "comma-separated names of MindCV")
    variants: str = setting("all", f"comma-separated, of {', '.join(VARIANTS)}")
    rounds: int = setting(2, "processes of each variant, in turn")
    steps: int = setting(5, "timed steps of a process, after two that are not")
    batch: int = setting(4, "images of a step")
    size: int = setting(96, "pixels along each side of the images")
    draws: int = setting(1, "batches of images of which the numbers are compared")
    dropout: bool = setting(False, "leave it on, and compare no numbers")
    torch: str = setting("", "Python interpreter with torch, for speeds with timm or torchvision")

    def __post_init__(self):
        for name, known in (("nets", NETS), ("variants", VARIANTS)):
            for value in chosen(getattr(self, name), known):
                if value not in known:
                    raise ValueError(f"--{name} {value!r}: known are {', '.join(known)}")
        for name, least in (("rounds", 1), ("steps", 1), ("draws", 1), ("batch", 1), ("size", 32)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least {least}")


def measure(settings):
    """Returns what was measured of each network, its ratios, and the failures by name."""
    results, ratios, failures = [], {}, {}
    variants = [name for name in chosen(settings.variants, VARIANTS) if settings.torch or name in ("ours", *STOCK)]
    for net in chosen(settings.nets, NETS):
        with tempfile.TemporaryDirectory() as folder:
            reports = {name: [] for name in variants}
            for number in range(settings.rounds):
                for name in variants:
                    if name == "float64" and (number or settings.dropout):
                        continue
                    report, trouble = run_variant(net, name, settings, Path(folder) / f"{name}.npz")
                    if report:
                        reports[name].append(report)
                    elif trouble:
                        failures[f"{net}: {name}"] = trouble
                        sys.stderr.write(f"{net}, {name}: {trouble}\n")
            found = {name: _median(of) for name, of in reports.items() if of and name != "float64"}
            results += _rows(net, found) + ([] if settings.dropout else _differences(net, Path(folder)))
        ratios |= _ratios(net, found)
    return {"results": results, "ratios": ratios, "failures": failures}


def run_variant(net, variant, settings, arrays):
    """Returns the report of one process and None, or None and why there is none ("" where there is no such network)."""
    environment = {name: value for name, value in os.environ.items() if name != "ONEDNN_MAX_CPU_ISA"}
    if variant in STOCK:  # for ours `accelerate` sets it where convolutions stay stock
        environment["ONEDNN_MAX_CPU_ISA"] = "AVX2" if variant == "stock" else "DEFAULT"
    line = ["--batch", settings.batch, "--size", max(settings.size, LEAST_SIZE.get(net, 0)), "--steps", settings.steps]
    inputs, threads = arrays.with_name("inputs.npz"), len(os.sched_getaffinity(0))
    if variant == "float64":
        line = [settings.torch, _PEERS / "mindcv_float64_peer.py", "--net", net, "--mindcv", _mindcv()]
        line += ["--inputs", inputs, "--arrays", arrays, "--samples", SAMPLES, "--threads", threads]
    elif variant == "torch":
        if not NETS[net]:
            return None, ""
        line = [settings.torch, _PEERS / "timm_peer.py", "--net", NETS[net], "--threads", threads, *line]
    else:
        name = "ours" if variant == "ours" else "stock"
        line = [sys.executable, "-m", "cellwright.launch.bench.peers.mindcv_peer", "--net", net, *line]
        line += ["--variant", name, "--arrays", arrays, "--inputs", inputs, "--draws", settings.draws]
        line += ["--dropout"] * settings.dropout
    return own_process.run(line, environment=environment)


def _mindcv():
    return importlib.util.find_spec("mindcv").submodule_search_locations[0]


def _median(reports):
    return {name: statistics.median(report[name] for report in reports) for name in reports[0]}


def _rows(net, found):
    rows = []
    for variant, report in found.items():
        rows += [
            {"name": f"{net}: {variant}, training step", "value": 1e3 * report["train_s"], "unit": "ms"},
            {"name": f"{net}: {variant}, evaluation", "value": 1e3 * report["eval_s"], "unit": "ms"},
            {"name": f"{net}: {variant}, peak memory", "value": report["peak_mib"], "unit": "MiB"},
        ]
        if "share" in report:
            roof = 100 * report["flops"] / report["attainable_flops"]
            rows += [
                {"name": f"{net}: FLOPs on programs", "value": 100 * report["share"], "unit": "%"},
                {"name": f"{net}: programs", "value": report["programs"], "unit": ""},
                {"name": f"{net}: training, of the roof", "value": 3 * roof / report["train_s"], "unit": "%"},
                {"name": f"{net}: evaluation, of the roof", "value": roof / report["eval_s"], "unit": "%"},
            ]
    return rows


def _ratios(net, found):
    """Speeds: the other's time over ours, for stock that of its better setting."""
    ratios = {}
    for what, key in (("training", "train_s"), ("evaluation", "eval_s")):
        stock = [found[name][key] for name in STOCK if name in found]
        if "ours" in found and stock:
            ratios[f"{net}: {what}, ours / stock"] = min(stock) / found["ours"][key]
        if "ours" in found and "torch" in found:
            ratios[f"{net}: {what}, ours / PyTorch"] = found["torch"][key] / found["ours"][key]
    return ratios


def _differences(net, folder):
    """How far numbers are from those of `stock`, and from those in float64: medians of the draws, and the most."""
    files = {name: folder / f"{name}.npz" for name in ("ours", *STOCK, "float64")}
    arrays = {name: dict(np.load(file)) for name, file in files.items() if file.exists()}
    pairs = [("stock", "ours", "ours"), ("stock", "stock-all", "stock in another order")]
    pairs += [("float64", name, f"{name} from float64") for name in ("ours", *STOCK)]
    rows = []
    for expected, name, label in pairs:
        if expected in arrays and name in arrays:
            for what, off in distances(arrays[expected], arrays[name]).items():
                row = {"name": f"{net}: difference of {what}, {label}", "unit": "of its norm"}
                rows.append(row | {"value": statistics.median(off)})
                rows += [row | {"name": f"{row['name']}, the most", "value": max(off)}] * (len(off) > 1)
    return rows


def distances(expected, found):
    """Returns the relative distances of the outputs, and of all gradients as one long vector, for each draw."""
    total = {"evaluation": (["evaluation"]), "training": ["training"]}
    total["gradients"] = [name for name in expected if name.startswith("gradient")]
    of = {}
    for what, names in total.items():
        off = sum(_squares(expected[name] - found[name]) for name in names)
        of[what] = list((off / np.maximum(sum(_squares(expected[name]) for name in names), 1e-30)) ** 0.5)
    return of


def _squares(array):
    """Returns the sum of the squares of each draw, the first axis."""
    return np.sum(np.square(array, dtype=np.float64).reshape(len(array), -1), axis=1)
