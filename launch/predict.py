"""Names what pictures show:  python -m launch.predict IMAGE... --ckpt RUN

IMAGE: a picture, a folder of them, or a .txt file with a name a line. Preprocessing and class names are those of the
run; --ckpt may be an ONNX file of launch.export too.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

from cellwright.launch.host.runtime import (
    graph_cache_folder,
    quiet_environment,
    start_mindspore,
    use_compile_cache,
)
from cellwright.launch.serving.classify import NetworkClassifier, OnnxClassifier, is_onnx, probabilities
from cellwright.launch.serving.pictures import batches, named_files, read_pixels
from cellwright.launch.settings.flag_parser import Parser, boolean
from cellwright.launch.settings.run_settings import WEIGHTS, of_mindcv

PROGRAM = "python -m launch.predict"
_OF_THE_NETWORK = {"net": str, "dataset": str, "extra": boolean, "mlp": boolean, "num_classes": int, "image_size": int}


def read(arguments):
    """Returns (settings, the flags of the network as typed) for a command line; ValueError for a bad value."""
    parser = Parser(prog=PROGRAM, description=__doc__.partition(":  ")[0])
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="a picture, a folder, or a .txt file of names")
    parser.add_argument("--ckpt", required=True, help="a run, a checkpoint folder, a file of weights, or an ONNX file")
    parser.add_argument("--top", type=int, default=5, help="classes to name for each picture (default: 5)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--cam", metavar="FILE.png", help="draw what spoke for the class; of several pictures: a folder"
    )
    parser.add_argument("--batch_size", type=int, default=32, help="pictures at a time (default: 32)")
    parser.add_argument(
        "--weights", choices=WEIGHTS, default=argparse.SUPPRESS, help="which of a run's (default: best, else last)"
    )
    for name, kind in _OF_THE_NETWORK.items():
        parser.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help="of a bare file of weights")
    given = parser.parse_args(arguments)
    for name in ("top", "batch_size"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name} {getattr(given, name)}: must be at least 1")
    flags = [
        word
        for name in ("weights", *_OF_THE_NETWORK)
        if hasattr(given, name)
        for word in (f"--{name}", str(getattr(given, name)))
    ]
    if is_onnx(given.ckpt) and (flags or given.cam):
        what = flags[0] if flags else "--cam"
        raise ValueError(f"{what} with {given.ckpt}: an ONNX file knows its network, and its maps are not to be seen")
    return given, flags


def classifier(given, flags, batch_size):
    """Returns (classifier, Trained or None) of --ckpt."""
    if is_onnx(given.ckpt):
        if not Path(given.ckpt).is_file():
            raise ValueError(f"--ckpt {given.ckpt}: no such file")
        return OnnxClassifier(given.ckpt), None
    threads = len(os.sched_getaffinity(0))
    start_mindspore("CPU", 0, threads, seed=1)
    from cellwright.launch.serving.trained import load_trained

    trained = load_trained(given.ckpt, flags, PROGRAM)
    if given.cam and of_mindcv(trained.recipe.net):
        raise ValueError(f"--cam {given.cam}: where the last maps of {trained.recipe.net} are is not known")
    setup = (PROGRAM, batch_size, bool(given.cam), threads, trained.recipe)
    use_compile_cache(graph_cache_folder(0, 1, setup))
    return NetworkClassifier(trained, batch_size), trained


def predict(given, flags):
    """Prints the classes and returns the exit code: 1 where a file could not be read."""
    files = named_files(given.images)
    drawn = map_places(given.cam, files) if given.cam else {}
    model, trained = classifier(given, flags, min(given.batch_size, len(files)))
    refused, found = [], []

    def refuse(path, reason):
        refused.append(path)
        sys.stderr.write(f"{path}: {reason}\n")

    for paths, views in batches(files, model.batch_size, model.cut, refuse):
        chances = probabilities(model.logits(views))
        if given.cam:
            _draw(drawn, paths, trained.transform, model.maps(views, chances.argmax(axis=1)))
        for path, row in zip(paths, chances):
            order = np.argsort(-row, kind="stable")[: given.top]
            best = [{"class": model.classes[k], "label": int(k), "probability": float(row[k])} for k in order]
            found.append({"file": path, "classes": best})
            if not given.json:
                print(path)
                print("\n".join(f"  {100 * one['probability']:6.2f} %  {one['class']}" for one in best), flush=True)
    if given.json:
        print(json.dumps(found, indent=1))
    return 1 if refused else 0


def map_places(cam, files):
    """Returns {file: path of the picture to draw for it}; ValueError for a name under which none can be written.

    One file: `cam` itself, unless that is a folder. Several: `cam`/NAME.png, and NAME-2.png for the second of a name.
    """
    import cv2

    target = Path(cam)
    if len(files) == 1 and not target.is_dir():
        if not cv2.haveImageWriter(cam):
            raise ValueError(f"--cam {cam}: the ending must be that of a picture, such as .png")
        return {files[0]: target}
    if target.suffix and not target.is_dir():
        raise ValueError(f"--cam {cam}: for {len(files)} pictures it is a folder")
    places, taken = {}, set()
    for file in files:
        name = stem = Path(file).stem
        number = 1
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        places[file] = target / f"{name}.png"
    return places


def _draw(places, paths, transform, heats):
    import cv2

    from cellwright.launch.serving.activation_map import overlay

    for path, heat in zip(paths, heats):
        out = places[path]
        out.parent.mkdir(parents=True, exist_ok=True)
        picture = overlay(read_pixels(path), transform, heat)
        if not cv2.imwrite(str(out), picture[..., ::-1]):
            raise ValueError(f"--cam {out}: cannot be written")


def main(arguments=None):
    """Runs the command and returns its exit code: 2, and one line, where something given cannot work."""
    quiet_environment(len(os.sched_getaffinity(0)))
    try:
        return predict(*read(arguments))
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        sys.stderr.write(f"{PROGRAM}: onnxruntime is missing: pip install 'cellwright[onnx]'\n")
        return 2
    except BrokenPipeError:  # `| head` has seen enough
        sys.stdout = None
        return 0
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{PROGRAM}: {error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
