"""The folder of one run: config.yaml, metrics.jsonl, eval.json, checkpoints/, logs/."""

import datetime
import importlib.metadata
import os
import subprocess
from pathlib import Path

import yaml


def new_run_folder(parent, net):
    """Returns a new folder PARENT/NET-DATE-TIME, with a number behind it where that one exists: runs never share one."""
    stem = f"{net}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1000):
        folder = Path(parent) / (f"{stem}-{number}" if number else stem)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise ValueError(f"{parent} already holds 1000 runs named {stem}")


def prepare(folder):
    """Makes the sub-folders; raises ValueError with one line where it cannot be written."""
    try:
        for name in ("checkpoints", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"--run_dir {folder} cannot be written: {error.strerror}") from None
    return folder


def write_config(folder, sections):
    """Writes config.yaml: the resolved settings by section, the package versions and the git revision."""
    packages = ("mindspore", "numpy", "opencv-python-headless", "numba", "mpi4py")
    sections = {
        **sections,
        "versions": {"cellwright": _version("cellwright"), **{name: _version(name) for name in packages}},
        "git_revision": git_revision(),
    }
    unfinished = folder / f".config.yaml.{os.getpid()}"
    unfinished.write_text(yaml.safe_dump(_plain(sections), sort_keys=False), encoding="utf-8")
    unfinished.rename(folder / "config.yaml")


def read_config(path):
    """Returns the sections of a run's config.yaml, given the run folder or the file."""
    path = Path(path)
    file = path / "config.yaml" if path.is_dir() else path
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{file} holds no settings")
    return config


def git_revision():
    """Returns the revision of the source tree, `+changes` behind it if it has any; None outside a git checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        revision = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changed = subprocess.run([*git, "diff", "--quiet", "HEAD"], capture_output=True).returncode
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("+changes" if changed else "")


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
