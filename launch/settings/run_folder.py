"""The folder of one run: config.yaml, metrics.jsonl, eval.json, checkpoints/, logs/."""

import datetime
import importlib.metadata
from pathlib import Path

import yaml


def new_run_folder(parent, net, flag="--run_dir"):
    """Returns a new folder PARENT/NET-DATE-TIME, with a number behind it where that one exists.

    ValueError where none can be made; flag: what names another place.
    """
    stem = f"{net.replace(':', '-')}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    for number in range(1000):
        folder = Path(parent) / (f"{stem}-{number}" if number else stem)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ValueError(f"{folder} cannot be made ({error.strerror}): name another place by {flag}") from None
        return folder
    raise ValueError(f"{parent} already holds 1000 runs named {stem}")


def prepare(folder, flag="--run_dir"):
    """Makes the sub-folders of a run folder, which `flag` names; ValueError where it cannot be written."""
    try:
        for name in ("checkpoints", "logs"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{flag} {folder} cannot be written: {error.strerror}") from None
    return folder


def write_config(folder, sections):
    """Writes config.yaml: the resolved settings by section, the package versions and the git revision."""
    from cellwright.engine.storage.atomic_folder import whole_file
    from cellwright.engine.storage.provenance import source_revision

    packages = ("mindspore", "numpy", "opencv-python-headless", "numba", "mpi4py")
    sections = {
        **sections,
        "versions": {"cellwright": _version("cellwright"), **{name: _version(name) for name in packages}},
        "git_revision": source_revision(),
    }
    with whole_file(folder / "config.yaml") as file:
        yaml.safe_dump(_plain(sections), file, sort_keys=False)


def read_config(path):
    """Returns the sections of a run's config.yaml, given the run folder or the file."""
    path = Path(path)
    file = path / "config.yaml" if path.is_dir() else path
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not a text file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ValueError(f"{file} holds no settings")
    return config


def settings_in(path):
    """Returns the sections of a settings file, a dict of dicts, in today's form, whatever version of ours wrote it.

    path: a run folder or a file, see `read_config`. There are always run, step and recipe.
    """
    config = read_config(path)
    for name in ("run", "step", "recipe"):
        if not isinstance(config.get(name) or {}, dict):
            raise ValueError(
                f"{path}: section {name!r} is {config[name]!r}, and must hold settings, NAME: VALUE a line"
            )
    sections = {**config, **{name: dict(config.get(name) or {}) for name in ("run", "step", "recipe")}}
    run, recipe = sections["run"], sections["recipe"]
    if "versions" in config and "recipe" not in run:  # a run from before there was a choice
        run["recipe"] = "small" if run.get("data_path") is None else "published"
    if "lr" in recipe:
        recipe.setdefault("lr_reference_batch", None)
    recipe.pop("checkpoint_prefix", None)
    if "optimizer" in sections["step"]:  # runs of 0.1.0 have it there
        recipe.setdefault("optimizer", sections["step"].pop("optimizer"))
    return sections


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
