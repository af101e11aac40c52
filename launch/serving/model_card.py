"""RUN/README.md: what was trained, on what, how well, and how to do it again; in the form that model hubs read."""

import json
from pathlib import Path

import yaml

from cellwright.launch.serving.curve_picture import draw, read_run
from cellwright.launch.settings.flag_parser import shown
from cellwright.launch.settings.run_folder import read_config
from cellwright.launch.settings.transforms import AUGMENTATION

FULL_NAMES = {
    "densenet121": "DenseNet-121 (Huang et al., 2017, arXiv:1608.06993)",
    "tinydarknet": "Tiny-DarkNet (Redmon, pjreddie.com/darknet/tiny-darknet)",
    "genet": "GENet on ResNet-50 (Hu et al., 2018, arXiv:1810.12348)",
    "vgg16": "VGG-16 (Simonyan and Zisserman, 2015, arXiv:1409.1556)",
}
_EMBEDDED = "15,000 images of Fashion-MNIST (Zalando SE, MIT licence), the cut that comes with Cellwright"


def write_model_card(folder):
    """Writes README.md and curves.svg into a run folder, from the files that are there; returns the path.

    What a person has written behind the line `<!-- yours -->` stays.
    """
    folder = Path(folder)
    config = read_config(folder)
    evaluations = _json(folder / "eval.json"), _json(folder / "eval_averaged.json")
    picture = ""
    try:
        (folder / "curves.svg").write_text(draw({folder.name: read_run(folder)}), encoding="utf-8")
        picture = "![Loss, accuracy, learning rate and speed of the run](curves.svg)\n"
    except ValueError:
        pass  # ended before its first step
    path = folder / "README.md"
    text = _text(config, folder.name, evaluations, picture)
    if path.exists():
        text += path.read_text(encoding="utf-8").partition(_MARK)[2]
    path.write_text(text, encoding="utf-8")
    return path


_MARK = "<!-- yours -->\n"


def _text(config, name, evaluations, picture):
    run, recipe, step = (config.get(section) or {} for section in ("run", "recipe", "step"))
    net = run["net"]
    ranks = (config.get("world") or {}).get("ranks", 1)
    head = _front_matter(net, run, evaluations[0], name)
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n",
        f"# {net}, {recipe.get('num_classes')} classes\n",
        f"{FULL_NAMES.get(net, net)}, trained with [Cellwright](https://pypi.org/project/cellwright) on MindSpore.\n",
        "## Result\n",
        _result(evaluations),
        picture,
        "## Data\n",
        _data(run, config.get("data") or {}),
        "## Recipe\n",
        _table(_recipe_rows(recipe, step, run, ranks)),
        "## Again\n",
        f"```\n{_again(ranks)}\n```\n",
        f"with this folder's [config.yaml](config.yaml), which names every setting.\n\n{_versions(config)}\n",
        "## Use\n",
        "```\npython -m cellwright.launch.predict IMAGE... --ckpt THIS_FOLDER\n"
        "python -m cellwright.launch.export --ckpt THIS_FOLDER --file_format ONNX\n```\n",
        _MARK,
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(net, run, result, name):
    head = {"library_name": "cellwright", "tags": ["image-classification", "mindspore", net]}
    if run.get("data_path") is None:
        head["datasets"] = ["fashion_mnist"]
    if result:
        accuracy = {"type": "accuracy", "value": round(result["top1_correct"] / result["total"], 5)}
        data = {"name": _data_name(run), "type": "image-folder"}
        task = {"type": "image-classification"}
        head["model-index"] = [{"name": name, "results": [{"task": task, "dataset": data, "metrics": [accuracy]}]}]
    return head


def _result(evaluations):
    rows = []
    for weights, result in zip(("trained weights", "moving average"), evaluations):
        if result:
            total, top5 = result["total"], result["top5_correct"]
            rows.append((weights, _share(result["top1_correct"], total), _share(top5, total), f"{result['loss']:.4f}"))
    if not rows:
        return "Not evaluated: no images were held back, or `--eval_interval 0`.\n"
    return _table(rows, ("of", "top-1", "top-5", "loss")) + "\nEvery held-back image was counted once.\n"


def _share(correct, total):
    return f"{100 * correct / total:.2f} % ({correct:,} of {total:,})"


def _data_name(run):
    return Path(run["data_path"]).name if run.get("data_path") else "the embedded cut of Fashion-MNIST"


def _data(run, record):
    lines = [_EMBEDDED + "." if run.get("data_path") is None else f"`{_data_name(run)}`; licence: **say it here**."]
    for split, words in (("training", "trained on"), ("held_back", "held back")):
        if record.get(split):
            lines.append(f"{record[split]['images']:,} images {words} (digest {record[split]['digest']}).")
    if record.get("classes"):
        lines.append("Classes, by label: " + ", ".join(f"{k} {name}" for k, name in enumerate(record["classes"])) + ".")
    return "\n\n".join(lines) + "\n"


def _recipe_rows(recipe, step, run, ranks):
    size, batch = recipe.get("image_size"), recipe.get("batch_size")
    rows = [
        ("images", f"{size} x {size} pixels"),
        ("batch", f"{batch} on each of {ranks} rank{'s' if ranks > 1 else ''}"),
        ("epochs", recipe.get("epochs") if not run.get("max_steps") else f"{run['max_steps']} steps at most"),
        (
            "learning rate",
            f"{recipe.get('lr')}, {recipe.get('lr_scheduler')}, {recipe.get('warmup_epochs')} epochs of rise",
        ),
        ("optimizer", f"{step.get('optimizer', 'momentum')}, momentum {recipe.get('momentum')}"),
        ("weight decay", recipe.get("weight_decay")),
        ("label smoothing", recipe.get("label_smooth_factor")),
        ("crop", f"{recipe.get('crop')}, {recipe.get('crop_scale')} of the area, mirrored {recipe.get('flip')}"),
        ("other augmentation", ", ".join(_augmented(recipe)) or None),
        ("started from", run.get("pretrained") or "weights drawn at random"),
        ("seed", run.get("seed")),
    ]
    return [(f"{label}", f"{value}") for label, value in rows if value is not None]


def _augmented(recipe):
    """The settings of the augmentation that are not at their defaults, as they are typed, but for crop and flip."""
    for name, default in AUGMENTATION.items():
        value = recipe.get(name, default)
        value = tuple(value) if isinstance(value, list) else value
        if value != default and name not in ("crop", "crop_scale", "flip"):
            yield f"{name} {shown(value)}"


def _again(ranks):
    several = f"cellwright.launch.run -n {ranks}" if ranks > 1 else "cellwright.launch.train"
    return f"python -m {several} --config config.yaml"


def _versions(config):
    found = {name: number for name, number in (config.get("versions") or {}).items() if number}
    revision = f", revision {config['git_revision']}" if config.get("git_revision") else ""
    return "Versions: " + ", ".join(f"{name} {number}" for name, number in found.items()) + revision + "."


def _table(rows, head=("", "")):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def _json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
