"""What `--ckpt` and `--pretrained` name: the weights of a run, of a checkpoint folder, or of a file."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from cellwright.launch.settings.run_folder import settings_in


@dataclass(frozen=True)
class Weights:
    """Weights that were found. given: the path that was typed; file: where they are; average_in: the state.safetensors
    whose moving average replaces the trained ones, or None; run: the run folder, or None; settings: sections as in
    config.yaml of how they were trained, empty for a bare file; data: the record of the images, or None.
    """

    given: str
    file: Path
    average_in: Path | None = None
    run: Path | None = None
    settings: dict = field(default_factory=dict)
    data: dict | None = None

    @property
    def net(self):
        """The network that they are for, or None where nobody says."""
        return next((part["net"] for part in self.settings.values() if part.get("net")), None)

    def load(self, network, whole=False):
        """Puts them into a network and returns lines on what was left out; see `nets.load_pretrained`."""
        from cellwright.nets import load_pretrained

        if self.net not in (None, network.network_name):
            raise ValueError(f"{self.given} was trained as {self.net}, this network is {network.network_name}")
        lines = load_pretrained(network, self.file, whole=whole)
        if self.average_in:
            _load_average(network, self.average_in)
        return lines

    def __str__(self):
        return f"{self.file}" + (" (moving average)" if self.average_in else "")


def find_weights(path, which=None):
    """Returns the Weights that `path` stands for. which: best, last, average (of the last), or None: best, else last.

    path: a run folder, its checkpoints folder, one checkpoint's folder, or a file. ValueError where there is none.
    """
    path = Path(path)
    if path.is_file():
        folder = path.parent if path.name == "weights.ckpt" else None
        if which in ("best", "last") or (which and folder is None):
            raise ValueError(f"--weights {which}: {path} is a file of weights, it holds one set of them")
    else:
        folder = _checkpoint_in(path, which)
    average = None
    if which == "average":
        average = folder / "state.safetensors"
        if not _average_names(average):
            raise ValueError(f"--weights average: {path} was trained without a moving average (--ema)")
    run = next((place for place in (path, *path.absolute().parents[:3]) if (place / "config.yaml").is_file()), None)
    settings, data = _about(folder, run)
    file = path if path.is_file() else folder / "weights.ckpt"
    return Weights(str(path), file, average, run if run == path else None, settings, data)


def _checkpoint_in(path, which):
    if (path / "weights.ckpt").is_file():
        if which in ("best", "last"):
            raise ValueError(f"--weights {which}: {path} is one checkpoint; name its run to choose")
        return path
    for folder in (path, path / "checkpoints"):
        if folder.name == "checkpoints" and folder.is_dir():
            from cellwright.engine import Checkpoints

            checkpoints = Checkpoints(folder)
            best = checkpoints.best() if which in (None, "best") else None
            if which == "best" and best is None:
                raise ValueError(f"--weights best: no checkpoint of {path} was evaluated; take --weights last")
            found = best or checkpoints.latest()
            if found:
                return found
    raise ValueError(f"{path}: neither a file of weights nor a folder with a checkpoint")


def _about(folder, run):
    """(settings by section, record of the images) of a checkpoint: from its run, else from its own meta.json."""
    meta = {}
    if folder is not None and (folder / "meta.json").is_file():
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        except ValueError:
            raise ValueError(f"{folder / 'meta.json'} is damaged: it is not JSON") from None
    if run is not None:
        settings = settings_in(run)
        return settings, meta.get("data") or settings.get("data")
    recipe = dict(meta.get("recipe") or {})
    head = {name: recipe.pop(name) for name in ("net", "dataset") if name in recipe}
    head |= {name: value for name, value in recipe.get("network_settings", {}).items() if name in ("extra", "mlp")}
    return ({"run": head, "recipe": recipe} if recipe else {}), meta.get("data")


def _average_names(state):
    from safetensors import safe_open

    with safe_open(state, "numpy") as file:
        return [name for name in file.keys() if name.startswith("ema.")]


def _load_average(network, state):
    from mindspore import Tensor
    from safetensors import safe_open

    parameters = {parameter.name: parameter for parameter in network.get_parameters()}
    with safe_open(state, "numpy") as file:
        for name in _average_names(state):
            value, parameter = file.get_tensor(name), parameters.get(name.removeprefix("ema."))
            if parameter is not None and value.shape == tuple(parameter.shape):  # a head for other classes is left out
                parameter.set_data(Tensor(value, parameter.dtype))
