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
    runs: int = setting(10, "runs of each side, turn by turn")
    seed: int = setting(1, "of the first run; each run has the next one")
    torch: str | None = setting(None, "Python interpreter that has PyTorch; none: ours alone", None, "PYTHON")
    tune: bool = setting(False, "the last 5,000 training images stand in for the test images")
    amp_level: str = setting("auto", "ours: float32 (O0), bfloat16 (O2), or the faster one", ("auto", "O0", "O2"))
    json: str | None = setting(None, "write the report to this file", None, "FILE")

    def __post_init__(self):
        for name in ("runs", "seed"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)}: must be at least 1")
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


class Side:
    """One side's runs. name: what it computes with; line: the command of a run; job: what the command is told."""

    def __init__(self, name, line, job, **about):
        self.name, self.line, self.job, self.about, self.runs = name, line, job, about, []

    def run(self, seed):
        """Runs once, keeps what came out and prints it."""
        found = _run(self.line, self.job, self.name, seed)
        if found:
            self.runs.append({"seed": seed, **found})
            print(f"{self.name}, seed {seed}: {found['top1']:.2f} % in {found['seconds']:.1f} s", flush=True)

    def report(self):
        """Returns the runs and their means, of top-1 in percent and of seconds."""
        found = {"name": self.name, "runs": self.runs, **self.about}
        for mean, of in (("mean_top1", "top1"), ("mean_s", "seconds")) if self.runs else ():
            found[mean] = statistics.mean(run[of] for run in self.runs)
        return found


def measure(settings, recipe):
    """Yields the report after every run of each side, turn by turn: runs, means, how many times as fast ours was."""
    job = {"data_path": str(Path(settings.data_path).resolve()), "tune": settings.tune, "warm": False}
    job |= {"amp_level": settings.amp_level, "recipe": dataclasses.asdict(recipe)}
    line = [sys.executable, "-m", "cellwright.launch.speedrun.ours"]
    compiled = _run(line, {**job, "warm": True}, "ours", 1) or {}
    sides = {"ours": Side(f"ours {compiled.get('dtype', '')}".strip(), line, job)}
    if settings.torch:
        line = [settings.torch, Path(__file__).with_name("torch_peer.py")]
        steps = quickest_steps(line, job)
        if steps:
            variant = min(steps, key=steps.get)
            sides["PyTorch"] = Side(f"PyTorch {variant}", line, {**job, "variant": variant}, step_s=steps)
    for seed in range(settings.seed, settings.seed + settings.runs):
        for side in sides.values():
            side.run(seed)
        report = {"recipe": job["recipe"], "sides": {name: side.report() for name, side in sides.items()}}
        if len(sides) == 2 and all(side.runs for side in sides.values()):
            report["ours / PyTorch"] = report["sides"]["PyTorch"]["mean_s"] / report["sides"]["ours"]["mean_s"]
        yield report


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
    about = {"settings": vars(settings), "machine": machine(), "versions": versions()}
    for found in measure(settings, recipe):
        if settings.json:  # all that is there so far: the next run may be cut off
            Path(settings.json).write_text(json.dumps({**about, **found}, indent=2) + "\n", encoding="utf-8")
    for side in found["sides"].values():
        if side["runs"]:
            mean, told = side["mean_top1"], "reached" if side["mean_top1"] >= TARGET else "not reached"
            print(f"{side['name']}: mean {mean:.2f} % of {len(side['runs'])} runs in {side['mean_s']:.1f} s")
            print(f"{side['name']}: {TARGET} % {told}")
    if "ours / PyTorch" in found:
        print(f"ours / PyTorch: {found['ours / PyTorch']:.2f} times as fast")
    return 0 if found["sides"]["ours"].get("mean_top1", 0) >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
