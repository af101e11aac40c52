"""Writes a trained network as a file for other programs:  python -m launch.export --ckpt RUN --file_format ONNX

ONNX takes any number of uint8 RGB images (N, H, W, 3) of any size: the preprocessing of evaluation, the class names and
the recipe are inside; it gives `logits` and `probabilities`. --int8 writes it in 8 bits. MINDIR and AIR take normalised
float32 images of one shape. SAFETENSORS and TORCH hold the weights, under the names of timm or torchvision where those
have the network.
"""

import dataclasses
import json
import os
import sys
import tempfile
from pathlib import Path

from cellwright import __version__
from cellwright.launch.host.runtime import quiet_environment, start_mindspore
from cellwright.launch.settings.flag_parser import Parser, add_flags
from cellwright.launch.settings.flag_parser import setting as _flag
from cellwright.launch.settings.run_settings import ANY_NET, WEIGHTS, check_net

PROGRAM = "python -m launch.export"
FORMATS = ("MINDIR", "ONNX", "AIR", "SAFETENSORS", "TORCH")
_ENDINGS = {"SAFETENSORS": ".safetensors", "TORCH": ".pth"}
_OF_THE_NETWORK = ("weights", "net", "dataset", "extra", "mlp", "num_classes", "image_size")


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What to write. A run folder brings the settings of its network along."""

    ckpt: str | None = _flag(None, "a run, a checkpoint folder, or a file of weights", value="RUN|DIR|FILE")
    ckpt_file: str | None = _flag(None, "the zoo's name for --ckpt", value="RUN|DIR|FILE")
    weights: str | None = _flag(None, "which of a run's weights; none: the best, else the last", WEIGHTS)
    file_name: str | None = _flag(None, "file to write, the suffix may be left off; none: the net's name", value="FILE")
    file_format: str = _flag("MINDIR", "in upper or lower case; AIR needs an Ascend", FORMATS)
    input: str = _flag("images", "ONNX: images, uint8 of any size, or tensor, float32 normalised", ("images", "tensor"))
    int8: bool = _flag(False, "ONNX: in 8 bits, calibrated with training images")
    calibration_images: int = _flag(512, "training images that --int8 looks at")
    data_path: str | None = _flag(
        None, "where the training images for --int8 lie; none: where the run had them", value="DIR|FILE"
    )
    net: str | None = _flag(None, "the network, where the file does not tell", value=ANY_NET)
    dataset: str | None = _flag(
        None, "form of the network; cifar10 for vgg16, else imagenet2012", ("imagenet2012", "cifar10")
    )
    extra: bool | None = _flag(None, "genet: gather with depthwise convolutions (theta, theta+)")
    mlp: bool | None = _flag(None, "genet: excite through two 1x1 convolutions (theta+)")
    num_classes: int | None = _flag(None, "classes of the weights; none: the recipe's")
    image_size: int | None = _flag(None, "height and width of the network's images in pixels; none: the recipe's")
    batch_size: int | None = _flag(None, "images in a batch; none: ONNX any number, else 1")
    device_target: str = _flag("CPU", "where the graph is built", ("CPU", "GPU", "Ascend"))
    device_id: int = _flag(0, "device on GPU and Ascend")

    def __post_init__(self):
        if not self.path:
            raise ValueError("--ckpt is missing: a run folder, a checkpoint folder, or a file of weights")
        if self.ckpt and self.ckpt_file:
            raise ValueError(f"--ckpt_file {self.ckpt_file} beside --ckpt {self.ckpt}: both name the weights")
        if self.file_name is not None and (not self.file_name or self.file_name.endswith("/")):
            raise ValueError(f"--file_name {self.file_name}: must be the name of a file, not of a folder")
        if self.net:
            check_net(self.net)
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"--batch_size {self.batch_size}: must be at least 1")
        if self.calibration_images < 1:
            raise ValueError(f"--calibration_images {self.calibration_images}: must be at least 1")
        if self.file_format == "AIR" and self.device_target != "Ascend":
            raise ValueError(
                f"--file_format AIR with --device_target {self.device_target}: AIR is written on an Ascend alone"
            )
        if self.int8 and self.file_format != "ONNX":
            raise ValueError(f"--int8 with --file_format {self.file_format}: 8 bits are for ONNX alone")

    @property
    def path(self):
        return self.ckpt or self.ckpt_file


def read(arguments):
    """Returns (ExportSettings, the flags of the network as typed) for a command line; ValueError for a bad value."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--file_format" and equals:
            words[place] = f"{name}={value.upper()}"
        elif name == "--file_format" and place + 1 < len(words):
            words[place + 1] = words[place + 1].upper()
    parser = Parser(prog=PROGRAM, description=__doc__.partition(":  ")[0])
    add_flags(parser, ExportSettings, "settings")
    given = vars(parser.parse_args(words))
    settings = ExportSettings(**given)
    for name, format in (("input", "ONNX"), ("calibration_images", "ONNX"), ("data_path", "ONNX")):
        if name in given and settings.file_format != format:
            raise ValueError(f"--{name} {given[name]}: it is for --file_format {format} alone")
    if "batch_size" in given and settings.file_format in _ENDINGS:
        raise ValueError(f"--batch_size {settings.batch_size}: {settings.file_format} holds weights, for any batch")
    if "device_id" in given and settings.device_target == "CPU":
        raise ValueError(f"--device_id {settings.device_id}: the graph is built on CPU")
    if not settings.int8 and {"calibration_images", "data_path"} & given.keys():
        raise ValueError("--calibration_images and --data_path: they are for --int8 alone")
    return settings, [word for name in _OF_THE_NETWORK if name in given for word in (f"--{name}", str(given[name]))]


def export(network, shape, file_name, file_format):
    """Writes the network as it answers in evaluation to float32 images of `shape`; returns the file's path."""
    import mindspore as ms
    import numpy as np

    network.set_train(False)
    path = Path(file_name).with_suffix(f".{file_format.lower()}")
    ms.export(network, ms.Tensor(np.zeros(shape, np.float32)), file_name=str(path), file_format=file_format)
    grant_rights(path)
    return path


def grant_rights(path):
    """Gives a file that a library wrote for its owner's eyes the rights of any new file here."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, 0o666 & ~mask)


def onnx_model(trained, batch_size=None, images=True, int8_batches=None):
    """Returns the ONNX model of a Trained. images: its input is uint8 pictures, not a normalised tensor.

    batch_size: None for any. int8_batches: batches of normalised float32 to calibrate 8 bits with, None for float32.
    """
    import onnx

    from cellwright.launch.serving import onnx_graph
    from cellwright.launch.serving.onnx_int8 import quantised
    from cellwright.launch.serving.onnx_preprocessing import with_preprocessing

    recipe = trained.recipe
    with tempfile.TemporaryDirectory(prefix="cellwright-onnx-") as folder:
        shape = (batch_size or 1, 3, recipe.image_size, recipe.image_size)
        model = onnx.load(export(trained.network, shape, Path(folder) / "network", "ONNX"))
    model = onnx_graph.tidied(model, batch_size)
    if int8_batches is not None:
        model = quantised(model, int8_batches)
    if images:
        model = with_preprocessing(model, trained.transform, *trained.normalisation)
    about = {
        "classes": json.dumps(list(trained.classes)),
        "net": recipe.net,
        "recipe": json.dumps(dataclasses.asdict(recipe)),
        "weights": trained.weights,
        "data": json.dumps(trained.data),
        "precision": "float32" if int8_batches is None else "int8",
        "cellwright": __version__,
    }
    onnx_graph.describe(model, about)
    onnx.checker.check_model(model)
    return model


def _write_onnx(trained, settings, path):
    from cellwright.launch.serving import onnx_graph

    batches = None
    if settings.int8:
        from cellwright.launch.data import open_sources
        from cellwright.launch.serving.calibration import calibration_batches

        run = dataclasses.replace(trained.run, data_path=settings.data_path or trained.run.data_path)
        training, _ = open_sources(run)
        batches = calibration_batches(trained, training, settings.calibration_images)
    images = settings.input == "images"
    onnx_graph.write(onnx_model(trained, settings.batch_size, images, batches), path)
    number, side = settings.batch_size or "N", trained.recipe.image_size
    what = f"uint8 ({number}, height, width, 3)" if images else f"float32 ({number}, 3, {side}, {side})"
    return f"{what} -> logits, probabilities ({number}, {trained.recipe.num_classes})"


def _write_weights(trained, settings, path):
    import numpy as np

    from cellwright.nets.torch_names import to_torch

    arrays = {p.name: p.asnumpy() for p in trained.network.get_parameters()}
    named, origin = to_torch(arrays, trained.recipe.net)
    arrays = {name: np.ascontiguousarray(value) for name, value in named.items()}
    if settings.file_format == "SAFETENSORS":
        from safetensors.numpy import save_file

        about = {"net": trained.recipe.net, "classes": json.dumps(list(trained.classes)), "cellwright": __version__}
        save_file(arrays, path, metadata=about)
    else:
        try:
            import torch
        except ImportError:
            raise ValueError("--file_format TORCH: pip install torch, or take SAFETENSORS, which torch reads") from None
        torch.save({name: torch.from_numpy(value) for name, value in arrays.items()}, path)
    grant_rights(path)
    return f"{len(arrays)} tensors, names of {origin}"


def main(arguments=None):
    """Runs the command and returns its exit code: 2, and one line, where something given cannot work."""
    quiet_environment(threads=1)
    try:
        settings, flags = read(arguments)
        start_mindspore(settings.device_target, settings.device_id, threads=1, seed=1)
        from cellwright.launch.serving.trained import load_trained

        trained = load_trained(settings.path, flags, PROGRAM)
        format = settings.file_format
        name = settings.file_name or trained.recipe.net.replace(":", "-") + ("-int8" if settings.int8 else "")
        ending = _ENDINGS.get(format, f".{format.lower()}")
        path = Path(name if name.endswith(ending) else name + ending)
        path.parent.mkdir(parents=True, exist_ok=True)
        if format == "ONNX":
            told = _write_onnx(trained, settings, path)
        elif format in _ENDINGS:
            told = _write_weights(trained, settings, path)
        else:
            side = trained.recipe.image_size
            shape = (settings.batch_size or 1, 3, side, side)
            path = export(trained.network, shape, path, format)
            told = f"float32 {shape} -> ({shape[0]}, {trained.recipe.num_classes})"
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        sys.stderr.write(f"{PROGRAM}: {error.name} is missing: pip install 'cellwright[onnx]'\n")
        return 2
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2
    form = f"{format} int8" if settings.int8 else format
    print(f"{path}: {trained.recipe.net} of {trained.weights} as {form}, {told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
