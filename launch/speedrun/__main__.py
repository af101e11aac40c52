"""Trains a small network to 94.0 % of Fashion-MNIST's test images as fast as it can.

    python -m launch.speedrun fashion-mnist [--data_path DIR]

All is in the time of a run: the start of the process, the files' decoding, graphs that an earlier run compiled,
training, and one evaluation of all test images. Every run is a process of its own with a seed of its own. --torch
names a Python interpreter that has PyTorch: the same network is trained there by the same recipe, in the quickest of
its variants, which a few steps of each decide.
"""

import dataclasses
import json
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from cellwright.launch.bench import own_process
from cellwright.launch.host.machine import machine, versions
from cellwright.launch.settings.flag_parser import Parser, add_flags, setting
from cellwright.launch.settings.output_file import check_output
from cellwright.launch.speedrun.images import read_records
from cellwright.launch.speedrun.recipe import TARGET, Recipe

PROGRAM = "python -m launch.speedrun"
DEBIAN_FOLDER = "/usr/share/datasets/fashion-mnist"  # of dataset-fashion-mnist
FORMS, TYPES = ("eager", "channels_last", "compiled channels_last"), ("float32", "bfloat16")


@dataclass(frozen=True)
class Settings:
    """How often, on what, against what."""

    data_path: str = setting(DEBIAN_FOLDER, "folder of the four files, as in Debian's package", None, "DIR")
    runs: int = setting(10, "runs of each side, seeds 1, 2, ...")
    torch: str | None = setting(None, "Python interpreter that has PyTorch; none: ours alone", None, "PYTHON")
    tune: bool = setting(False, "the last 5,000 training images stand in for the test images")
    json: str | None = setting(None, "write the report to this file", None, "FILE")

    def __post_init__(self):
        if self.runs < 1:
            raise ValueError(f"--runs {self.runs}: must be at least 1")
        check_output("--json", self.json)


def read(arguments):
    """Returns (Settings, Recipe) for a command line; ValueError for what cannot work."""
    parser = Parser(prog=PROGRAM, description=__doc__.partition("\n")[0])
    parser.add_argument("dataset", choices=["fashion-mnist"])
    add_flags(parser, Settings, "settings")
    add_flags(parser, Recipe, "recipe")
    given = vars(parser.parse_args(arguments))
    of = {kind: {field.name for field in dataclasses.fields(kind)} & given.keys() for kind in (Settings, Recipe)}
    settings, recipe = (kind(**{name: given[name] for name in names}) for kind, names in of.items())
    for split in ("train", "test"):
        images = len(read_records(settings.data_path, split, settings.tune))
        if images < recipe.batch_size:
            raise ValueError(f"--batch_size {recipe.batch_size}: {settings.data_path} has {images} {split} images")
    return settings, recipe


def measure(settings, recipe):
    """Returns the report: each run of both sides, their means, and how many times as fast ours was."""
    job = {"data_path": str(Path(settings.data_path).resolve()), "tune": settings.tune, "warm": False}
    job |= {"recipe": dataclasses.asdict(recipe)}
    ours = [sys.executable, "-m", "cellwright.launch.speedrun.ours"]
    compiled = _run(ours, {**job, "warm": True}, "ours", 1) or {}
    sides = {"ours": runs_of(ours, job, f"ours {compiled.get('dtype', '')}".strip(), settings.runs)}
    if settings.torch:
        peer = [settings.torch, Path(__file__).with_name("torch_peer.py")]
        steps = quickest_steps(peer, job)
        if steps:
            variant = min(steps, key=steps.get)
            found = runs_of(peer, {**job, "variant": variant}, f"PyTorch {variant}", settings.runs)
            sides["PyTorch"] = {**found, "step_s": steps}
    report = {"recipe": dataclasses.asdict(recipe), "sides": sides}
    if len(sides) == 2 and all(side["runs"] for side in sides.values()):
        report["ours / PyTorch"] = sides["PyTorch"]["mean_s"] / sides["ours"]["mean_s"]
    return report


def runs_of(line, job, name, count):
    """Returns a side: its runs, one after the other, and their means; prints each."""
    runs = []
    for seed in range(1, count + 1):
        found = _run(line, job, name, seed)
        if found:
            runs.append({"seed": seed, **found})
            print(f"{name}, seed {seed}: {found['top1']:.2f} % in {found['seconds']:.1f} s", flush=True)
    if not runs:
        return {"name": name, "runs": []}
    mean, seconds = (statistics.mean(run[what] for run in runs) for what in ("top1", "seconds"))
    told = "reached" if mean >= TARGET else "not reached"
    print(f"{name}: mean {mean:.2f} % of {len(runs)} runs in {seconds:.1f} s; {TARGET} % {told}", flush=True)
    return {"name": name, "runs": runs, "mean_top1": mean, "mean_s": seconds}


def quickest_steps(line, job):
    """Returns {variant of PyTorch: seconds of its quickest step}; one that fails is left out."""
    steps = {}
    for variant in (f"{form} {kind}" for kind in TYPES for form in FORMS):
        found = _run(line, {**job, "variant": variant, "warm": True}, f"PyTorch {variant}", 1)
        if found:
            steps[variant] = found["step_s"]
            print(f"PyTorch {variant}: {1e3 * found['step_s']:.0f} ms a step", flush=True)
    return steps


def _run(line, job, name, seed):
    return own_process.report([*line, json.dumps({**job, "seed": seed})], name)


def main(arguments=None):
    """Runs the command and returns its exit code: 0 where our mean reached the target, 1 where not, 2 for a setting."""
    try:
        settings, recipe = read(arguments)
        own_process.check_torch(settings.torch)
    except ValueError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    found = measure(settings, recipe)
    if "ours / PyTorch" in found:
        print(f"ours / PyTorch: {found['ours / PyTorch']:.2f} times as fast")
    if settings.json:
        about = {"settings": vars(settings), "machine": machine(), "versions": versions()}
        Path(settings.json).write_text(json.dumps({**about, **found}, indent=2) + "\n", encoding="utf-8")
    return 0 if found["sides"]["ours"].get("mean_top1", 0) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
