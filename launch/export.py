"""Writes a trained network as a file for inference:

    python -m launch.export --net genet --ckpt_file FILE|RUN --file_format {MINDIR,ONNX,AIR}

The input is named by its shape: float32 (batch_size, 3, image_size, image_size), normalised; the output is
the logits.
"""

import dataclasses
import sys
from pathlib import Path

from cellwright.launch.host.runtime import quiet_environment, start_mindspore
from cellwright.launch.settings.flags import Parser, add_flags
from cellwright.launch.settings.run_folder import read_config
from cellwright.launch.settings.run_settings import NETS, weights_file

PROGRAM = "python -m launch.export"
FORMATS = ("MINDIR", "ONNX", "AIR")


def _flag(default, help, choices=None):
    return dataclasses.field(default=default, metadata={"help": help, "choices": choices})


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What to write. A run folder as `ckpt_file` brings the settings of its network along."""

    ckpt_file: str | None = _flag(None, "a file of weights, a checkpoint folder, or a run folder")
    file_name: str | None = _flag(None, "file to write, the suffix may be left off; none: the net's name")
    file_format: str = _flag("MINDIR", "AIR needs an Ascend", FORMATS)
    net: str = _flag("genet", "the network", NETS)
    dataset: str | None = _flag(
        None, "form of the network; cifar10 for vgg16, else imagenet2012", ("imagenet2012", "cifar10")
    )
    extra: bool = _flag(True, "genet: gather with depthwise convolutions (theta, theta+)")
    mlp: bool = _flag(True, "genet: excite through two 1x1 convolutions (theta+)")
    num_classes: int | None = _flag(None, "classes of the weights; none: the recipe's")
    image_size: int | None = _flag(None, "height and width of the images in pixels; none: the recipe's")
    batch_size: int = _flag(1, "images in a batch")
    device_target: str = _flag("CPU", "where the graph is built", ("CPU", "GPU", "Ascend"))
    device_id: int = _flag(0, "device on GPU and Ascend")

    def __post_init__(self):
        if not self.ckpt_file:
            raise ValueError("--ckpt_file is missing: a file of weights, a checkpoint folder, or a run folder")
        if self.batch_size < 1:
            raise ValueError(f"--batch_size {self.batch_size}: must be at least 1")
        if self.file_format == "AIR" and self.device_target != "Ascend":
            raise ValueError(
                f"--file_format AIR with --device_target {self.device_target}: AIR is written on an Ascend alone"
            )


def read(arguments):
    """Returns (ExportSettings, arguments of `create_network`) for a command line; ValueError for a bad value."""
    from cellwright.nets import recipe_for

    parser = Parser(prog=PROGRAM, description=__doc__.splitlines()[0])
    add_flags(parser, ExportSettings, "settings")
    given = vars(parser.parse_args(arguments))
    trained = _settings_of_the_run(given.get("ckpt_file"))
    known = {
        name: trained[name]
        for name in ("net", "dataset", "extra", "mlp", "num_classes", "image_size")
        if name in trained
    }
    settings = ExportSettings(**{**known, **given})
    dataset = settings.dataset or ("cifar10" if settings.net == "vgg16" else "imagenet2012")
    recipe = recipe_for(settings.net, dataset, extra=settings.extra, mlp=settings.mlp)
    return settings, {
        "name": settings.net,
        "num_classes": settings.num_classes or recipe.num_classes,
        "image_size": settings.image_size or recipe.image_size,
        **recipe.network_settings,
        **trained.get("network_settings", {}),
    }


def _settings_of_the_run(path):
    for folder in [Path(path), *Path(path).absolute().parents][:4] if path else ():
        if (folder / "config.yaml").is_file():
            config = read_config(folder)
            return {**config.get("recipe", {}), **config.get("run", {})}
    return {}


def export(network, shape, file_name, file_format):
    """Writes the network as it answers in evaluation to float32 images of `shape`; returns the file's path."""
    import mindspore as ms
    import numpy as np

    network.set_train(False)
    path = Path(file_name).with_suffix(f".{file_format.lower()}")
    ms.export(network, ms.Tensor(np.zeros(shape, np.float32)), file_name=str(path), file_format=file_format)
    return path


def main(arguments=None):
    """Runs the command and returns its exit code: 2, and one line, where something given cannot work."""
    quiet_environment(threads=1)
    try:
        settings, wanted = read(arguments)
        start_mindspore(settings.device_target, settings.device_id, threads=1, seed=1)
        from cellwright.nets import create_network, load_pretrained

        weights = weights_file(Path(settings.ckpt_file))
        network = create_network(**wanted)
        load_pretrained(network, weights, whole=True)
    except ValueError as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    shape = (settings.batch_size, 3, wanted["image_size"], wanted["image_size"])
    path = export(network, shape, settings.file_name or settings.net, settings.file_format)
    print(
        f"{path}: {settings.net} of {weights} as {settings.file_format}, float32 {shape} -> ({shape[0]}, {wanted['num_classes']})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
